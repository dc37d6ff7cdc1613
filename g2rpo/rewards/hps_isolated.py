"""Human Preference Score v2 by the package hpsv2 itself, which lives in a folder and a process of its own.

hpsv2 1.2.0 requires versions that this project does not run with; `g2rpo setup hps` makes a folder with all that it
really needs. The process shares this one's Python and torch and ends with it. Pictures go to it as PNG files and
scores come back as JSON. Source: arXiv:2306.09341. Deviations: fp32, where the package computes with autocast;
a batch is scored at once; a picture whose longer side is the model's own is padded to a square like any other.
"""

import contextlib
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import torch

from g2rpo.rewards import hps_process
from g2rpo.rewards.pictures import check_counts, to_pil
from g2rpo.rewards.protocol import Reward, RewardError
from g2rpo.types import Images, Rewards

_PATIENCE = 10.0  # seconds that the process may take to notice the end of its input
TIMEOUT = 1200.0  # seconds; far above an answer's time: a CPU scores a picture in 3 s and loads the model in a minute


class ScorerProcessError(RuntimeError):
    """The process refused a request, died or gave no answer in time."""


class ScorerProcess:
    """A process that scores with hpsv2; it ends when this object is closed or collected, or when this process ends."""

    def __init__(self, *, folder: Path, weights: Path | None, model_config: Path | None, device: str) -> None:
        arguments = ["--folder", str(folder), "--device", device]
        arguments += [] if weights is None else ["--weights", str(weights)]
        arguments += [] if model_config is None else ["--model-config", str(model_config)]
        self._stderr = tempfile.TemporaryFile("a+b")  # noqa: SIM115  (open as long as the process)
        self.process = subprocess.Popen(
            [sys.executable, "-P", hps_process.__file__, *arguments],  # -P: our own modules are not on its path
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
        )
        self.close = weakref.finalize(self, _end, self.process, self._stderr)
        try:
            self._exchange(None, [])
        except BaseException:
            self.close()
            raise

    def score(self, texts: Sequence[str], pictures: Sequence[bytes]) -> list[float]:
        """Return the scores of PNG files.

        Raises:
            ScorerProcessError: If the process refuses, dies or gives no answer in time; the message has its last lines.
        """
        sizes = [len(picture) for picture in pictures]
        return self._exchange({"texts": list(texts), "sizes": sizes}, list(pictures)).get("scores", [])

    def _exchange(self, request: dict[str, Any] | None, files: list[bytes]) -> dict[str, Any]:
        timed_out = threading.Event()
        timer = threading.Timer(TIMEOUT, lambda: (timed_out.set(), self.process.kill()))
        timer.daemon = True
        timer.start()
        try:
            if request is not None:
                hps_process.send(_pipe(self.process.stdin), request, files)
            received = hps_process.receive(_pipe(self.process.stdout))
        except OSError:
            received = None
        finally:
            timer.cancel()
        if received is None:
            self.process.kill()
            code = self.process.wait()
            reason = f"gave no answer within {TIMEOUT:g} s" if timed_out.is_set() else f"ended with exit code {code}"
            raise ScorerProcessError(f"it {reason}{self._last_lines()}")
        answer, _ = received
        if "error" in answer:
            raise ScorerProcessError(f"{_short(answer['error'])}{self._last_lines()}")
        return answer

    def _last_lines(self) -> str:
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return "".join(f"\n    {_short(line)}" for line in lines[-5:])


class IsolatedHps:
    """The Human Preference Score: a cosine, about 0.2 to 0.35 for pictures and their prompts; higher is better."""

    module = None

    def __init__(self, name: str, *, weights: Path, folder: Path, model_config: Path | None, device: str) -> None:
        self.name = name
        self._weights, self._folder, self._model_config, self._device = weights, folder, model_config, device
        self._lock = threading.Lock()  # two exchanges at once would mix their frames
        self._process: ScorerProcess | None = self._start()

    def score(self, images: Images, texts: Sequence[str]) -> Rewards:
        """Return one cosine per picture. After a failure the next call starts another process.

        Raises:
            ValueError: If there are not as many texts as pictures.
            RewardError: If the process refuses, dies or gives no answer in time, or an answer is no finite number.
        """
        check_counts(self.name, images, texts)
        pictures = [_png(picture) for picture in to_pil(images)]
        with self._lock:
            try:
                process = self._process = self._process or self._start()
                scores = process.score(texts, pictures)
            except BaseException as error:  # also if interrupted: its answer would be taken for the next one's
                self.close()
                if isinstance(error, ScorerProcessError):
                    raise RewardError(f"Reward {self.name} failed in its process: {error}") from error
                raise
        return _checked(self.name, scores, len(texts)).to(images.device)

    def close(self) -> None:
        """End the process now; it ends with this object, or with this process, anyway."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _start(self) -> ScorerProcess:
        return ScorerProcess(
            folder=self._folder, weights=self._weights, model_config=self._model_config, device=self._device
        )


def load_hps_isolated(
    name: str, *, weights: Path, folder: Path, device: str | torch.device, model_config: Path | None = None
) -> Reward:
    """Return HPS v2 by the package hpsv2 in a process of its own, which now builds the model.

    Args:
        weights: The official checkpoint, such as HPS_v2.1_compressed.pt.
        folder: The folder that `g2rpo setup hps` made.
        device: Where the process computes, as this process names it.
        model_config: JSON file of another architecture as open_clip describes one; None is ViT-H-14.

    Raises:
        ValueError: If a file is missing, the folder is incomplete, or the checkpoint does not fit the architecture.
    """
    if not (folder / "hpsv2").is_dir():
        raise ValueError(
            f"The backend hpsv2 of {name} needs the folder of the package, got {folder}, which has none. "
            f"Make it: g2rpo setup hps --folder {folder}"
        )
    for file, setting in ((weights, "weights"), (model_config, "model_config")):
        if file is not None and not file.is_file():
            raise ValueError(
                f"The {setting} of {name} must be a file, got {file}, which is none. "
                f"Set `rewards.{name}.{setting}` in params.yaml to an HPS v2 checkpoint."
            )
    try:
        return IsolatedHps(name, weights=weights, folder=folder, model_config=model_config, device=str(device))
    except ScorerProcessError as error:
        raise ValueError(
            f"The backend hpsv2 of {name} must build its model with {weights}, but {error}\n"
            f"Check that `rewards.{name}.weights` is an HPS v2 checkpoint and that {folder} is complete "
            f"(g2rpo setup hps --folder {folder})."
        ) from error


def _checked(name: str, scores: list[float], count: int) -> Rewards:
    if len(scores) != count:
        raise RewardError(f"Reward {name} must give {count} numbers, got {len(scores)} from its process.")
    values = torch.tensor(scores, dtype=torch.float32)
    bad = (~values.isfinite()).nonzero().flatten().tolist()
    if bad:
        raise RewardError(
            f"Reward {name} must give a finite number, got {scores[bad[0]]}. Look at its picture.", bad[0]
        )
    return values


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}..."


def _png(picture: Any) -> bytes:
    file = BytesIO()
    picture.save(file, format="PNG", compress_level=1)  # it is only for a pipe
    return file.getvalue()


def _pipe(stream: IO[bytes] | None) -> Any:
    assert stream is not None
    return stream


def _end(process: subprocess.Popen[bytes], stderr: Any) -> None:
    """End the process by closing its input; kill it if it is busy."""
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):  # a dead process cannot receive what is still in the buffer
            _pipe(pipe).close()
    try:
        process.wait(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    stderr.close()
