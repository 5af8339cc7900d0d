"""The statistics of a certificate. No I/O.

procedure    one certification as a state machine: it requests votes and adds counts; its state, to resume
ranges       its votes in numbered ranges, counted in any order and merged in order
forecast     what to expect of a certification: an estimate, no proof
schedule     the looks, what each spends of alpha, and when it may stop
bounds       counts to confidence bounds and a radius, rounded to the safe side
certificate  the Certificate document of a result
statement    what an evaluation log proves about a distribution of images; statement_checks verifies one
verify       checks a certificate; recompute is the independent second implementation it uses
"""
