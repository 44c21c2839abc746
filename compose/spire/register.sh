#!/bin/sh
# Registration entries of the example, and a token for its agent. Run it once, in the repository's root:
#
#     docker compose -f compose/spire/compose.yaml up -d spire-server
#     SPIRE_JOIN_TOKEN=$(compose/spire/register.sh) docker compose -f compose/spire/compose.yaml up
#
# Each node gets the ID spiffe://DOMAIN/NAME by its label `swarm-node-type=NAME`; the NAME names its role (docs/identity.md).
# Only the token goes to stdout.
set -eu
domain=${SPIRE_TRUST_DOMAIN:-swarm.example}
nodes=${SPIRE_NODES:-"license sn-1 sn-2 sl-1 swci"}

server() {
    docker compose -f "$(dirname "$0")/compose.yaml" exec -T spire-server /opt/spire/bin/spire-server "$@"
}

for node in $nodes; do
    server entry create -parentID "spiffe://$domain/agent" -spiffeID "spiffe://$domain/$node" \
        -selector "docker:label:swarm-node-type:$node" >&2
done
server token generate -spiffeID "spiffe://$domain/agent" | sed -n 's/^Token: *//p'
