"""The project's tests.

smoke: the stack as a team runs it, in containers.
# remove_template: begin
unit: no server, no engine (but kafka, whose harness is next to them). embedded: `make run`. stack:
real containers; browser: their pages, in Chromium; chaos: their visitors, under load and faults.
eb: Elastic Beanstalk, rehearsed. adopt: projects made of this tree.
# remove_template: end
"""
