"""The project's tests.

smoke: the production stack in containers.
# remove_template: begin
unit: without containers. kafka: a real broker. embedded: `make run`. stack: real containers.
browser: their pages in Chromium. chaos: load and faults. eb: rehearsals of Elastic Beanstalk.
adopt: new and adopted projects.
# remove_template: end
"""
