"""Reading results, summing them up over seeds, showing them: files in, text out, never torch."""
