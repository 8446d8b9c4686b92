"""The command line: parse, call, print. No command module imports anything heavy at its top."""
