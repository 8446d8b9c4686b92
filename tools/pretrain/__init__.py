"""How the weights in the package were made: `vlbench pretrain mini-bart` runs this again."""
