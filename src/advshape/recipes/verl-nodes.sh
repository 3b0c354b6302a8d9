#!/usr/bin/env bash
# Start this on every node, with verl and advshape installed on each:
#   HEAD=10.0.0.1 NODES=4 RANK=0 bash verl-nodes.sh [key=value ...]     on the node with the address HEAD
#   HEAD=10.0.0.1 NODES=4 RANK=1 bash verl-nodes.sh                     on the second, and so on
# Rank 0 starts the Ray cluster, waits for the others, trains and stops it; they end with it.
set -euo pipefail
: "${HEAD:?the address of the first node}" "${NODES:?how many nodes}" "${RANK:?0 on the first node, 1 on the second ...}"
PORT=${PORT:-6379}
if [ "$RANK" != 0 ]; then
  until ray start --address="$HEAD:$PORT" --block; do
    [ $((tries = ${tries:-0} + 1)) -lt "${TRIES:-60}" ] || { echo "no Ray cluster at $HEAD:$PORT" >&2; exit 1; }
    sleep 5
  done
  exit 0
fi
ray start --head --block --node-ip-address="$HEAD" --port="$PORT" &
trap "kill $!" EXIT
export RAY_ADDRESS="$HEAD:$PORT"
python - "$NODES" <<'PYTHON'
import sys, time, ray
alive = 0
for _ in range(120):
    try:
        ray.init(logging_level="ERROR", ignore_reinit_error=True)
        alive = sum(node["Alive"] for node in ray.nodes())
    except ConnectionError:  # not up yet
        pass
    if alive >= int(sys.argv[1]):
        sys.exit(0)
    time.sleep(5)
sys.exit(f"after 10 minutes {alive} of {sys.argv[1]} nodes are here")
PYTHON
RECIPES=$(python -c "import importlib.resources as r; print(r.files('advshape') / 'recipes')")
python -m verl.trainer.main_ppo --config-dir "$RECIPES" --config-name verl-nodes trainer.nnodes="$NODES" "$@"
