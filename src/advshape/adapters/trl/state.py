"""What a checkpoint holds besides TRL's own files: the history of the prompts, and what other mixins add."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from advshape.errors import AdvshapeError

HISTORY_FILE = "prompt_history.json"


class CheckpointedState:
    """Writes each state of `_stateful` beside the weights, and takes it back; stands before the trainer."""

    args: Any
    history: Any
    state: Any
    _get_output_dir: Any

    def _stateful(self) -> dict[str, tuple[Callable[[], Any], Callable[[Any], None]]]:
        """What a checkpoint holds besides TRL's: file name -> (its state for JSON, how to take one back)."""
        return {} if self.history is None else {HISTORY_FILE: (self.history.state_dict, self.history.load_state_dict)}

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        cast(Any, super())._save_checkpoint(model, trial)
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        for name, (state, _) in self._stateful().items() if self.args.should_save else ():
            (folder / name).write_text(json.dumps(state()), encoding="utf-8")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        cast(Any, super())._load_optimizer_and_scheduler(checkpoint)
        for name, (_, load) in self._stateful().items() if checkpoint is not None else ():
            path = Path(cast(str, checkpoint)) / name
            if not path.is_file():
                what = "history=" if name == HISTORY_FILE else Path(name).stem.replace("_", " ")
                raise AdvshapeError(f"{checkpoint} holds no {name}: the run had no {what}; leave it out")
            load(json.loads(path.read_text(encoding="utf-8")))
