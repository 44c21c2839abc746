"""A filter in front of the Docker socket that lets a SWOP do its work and nothing else.

Whoever may use the Docker socket is root on its host. SWOP needs little of it: containers without
privileges, volumes and images of its own. This program (``python -m compose.socket_proxy``) listens
on a second socket, which SWOP gets instead, and refuses the rest. docs/socket-proxy.md tells how to
use it, and what it does not protect from.

    client ─ http1 ─ routes ─ create_body / queries ─ ownership, roots ─ daemon ─ Docker
             pure    pure      pure                    asks              speaks

Nothing of a request is passed on as it came: it is parsed strictly, and what was understood and
allowed is written anew. So the proxy and Docker never read the same bytes in two ways.
"""
