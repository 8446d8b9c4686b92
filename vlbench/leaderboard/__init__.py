"""Reading result files, summing them up over seeds, and showing them: files in, text out, never torch."""
