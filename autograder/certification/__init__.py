"""Whether the verdicts on an exercise can be trusted, shown with numbers that anyone can measure again.

operators.py    what is done to a solution to make it wrong: a fixed list
mutants.py      the mutants of one solution, chosen the same way every time
subject.py      an exercise with everything that is certified: solution, checks, mistakes, variants, draws
trials.py       an answer tried: in a worker, as the grader would, or beside the checks
tolerances.py   what the numeric comparisons of a check saw, and how far wrong answers are from passing
equivalence.py  whether a mutant that no check rejects is the solution after all
giveaways.py    whether a function of the library that a student can call returns the answer
keys.py         hashes of what a certificate rests on
journal.py      what is measured already, so that a stopped run resumes
sections.py     the measurements, one function for each section of a certificate
certificate.py  the certificate as JSON, what in it can't be trusted, and as a table
certify.py      certificates made, or checked again where something changed
"""
