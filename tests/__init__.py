"""The project's tests.

unit: no server, no engine (but kafka, whose harness is beside them). embedded: `make run`. stack:
real containers; browser: their pages, in Chromium; chaos: their visitors, under load and faults.
eb: Elastic Beanstalk, rehearsed.
"""
