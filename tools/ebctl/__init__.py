"""The command behind ./ebctl: checks and packs what `eb deploy` sends to Elastic Beanstalk.

It runs without AWS, Docker and Django; nothing here may need them.
"""
