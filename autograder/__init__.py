"""The grader: draws inputs, runs submissions in isolated workers, compares, explains."""
