"""Servers over ssh: commands there (`--host`), and what an empty one needs (`setup`).

on_server.py and setup.sh run there; the other modules run here.
"""
