"""What runs on the other side of the wall: standard library only, and importable by any Python from 3.11 on.

`zygote` is started once with an empty environment, imports numpy and its friends, and forks a process per session;
`jail` locks that process in; `worker` runs the code that arrives.
"""
