"""Ray as far as runners ask it, in this process: actors are objects, whose calls are done when somebody waits for them.

A test says which calls never end and which actors die. What real actors do: tests/flows/runners/test_real_ray_*.py.
"""

import pickle
from types import SimpleNamespace

from ray.exceptions import RayActorError, RayTaskError

_MOST = 5000


class Died(BaseException):
    """What an actor raises to die in the middle of a call."""


class RayHere:
    """Stands where modules have `ray`; `now` is its clock, which goes on while all that is waited for is stuck."""

    def __init__(self, **there):
        self.there = there
        self.joined, self.actors, self.calls = [], [], []
        self.now, self.waits = 0.0, 0
        self.util = SimpleNamespace(get_node_ip_address=lambda: "127.0.0.1")

    def init(self, **how):
        self.joined.append(how)

    def is_initialized(self):
        return bool(self.joined)

    def shutdown(self):
        self.joined.clear()

    def cluster_resources(self):
        return self.there

    def available_resources(self):
        return self.there

    def remote(self, kind):
        return _Kind(self, kind, {})

    def wait(self, refs, *, num_returns, timeout):
        done = [ref for ref in refs if ref.is_done()][:num_returns]
        if len(done) < num_returns:
            self.now += timeout
        self.waits += 1
        assert self.waits < _MOST, "nothing comes back for ever"
        return done, [ref for ref in refs if ref not in done]

    def get(self, refs):
        if not isinstance(refs, list):
            return refs.result()
        failed = [ref for ref in refs if ref.is_done() and ref.error]
        return [ref.result() for ref in failed or refs]

    def kill(self, actor):
        actor.killed = True
        actor.lost = RayActorError(error_msg="The actor is dead because it was killed by `ray.kill`.")


class _Kind:
    def __init__(self, here, kind, options):
        self.here, self.kind, self.chosen = here, kind, options

    def options(self, **options):
        return _Kind(self.here, self.kind, options)

    def remote(self, *words):
        self.here.actors.append(_Actor(self, pickle.loads(pickle.dumps(words))))
        return self.here.actors[-1]


class _Actor:
    """Its body is made when it is first asked for something."""

    def __init__(self, kind, words):
        self.kind, self.words, self.options = kind, words, kind.chosen
        self.lost, self.killed, self.body = None, False, None
        self.stuck = set()
        """Names of the calls that never end."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return SimpleNamespace(remote=lambda *words: _Ref(self, name, pickle.loads(pickle.dumps(words))))


class _Ref:
    def __init__(self, actor, name, words):
        self.actor, self.name, self.words = actor, name, words
        self.begun, self.value, self.error = False, None, None

    def is_done(self):
        """Do the call unless it is done, or stuck."""
        if self.begun or (self.name in self.actor.stuck and not self.actor.lost):
            return self.begun
        self.begun = True
        if self.actor.lost:
            self.error = self.actor.lost
            return True
        self.actor.kind.here.calls.append((self.actor, self.name, self.words))
        try:
            self.value = pickle.loads(pickle.dumps(getattr(self._body(), self.name)(*self.words)))
        except Died as death:
            self.actor.lost = self.error = RayActorError(error_msg=f"The actor died unexpectedly: {death}")
        except RayActorError as error:
            self.actor.lost = self.error = error
        except Exception as error:
            self.error = RayTaskError(self.name, f"in {self.name}", error).as_instanceof_cause()
        return True

    def result(self):
        assert self.is_done(), f"{self.name} never ends"
        if self.error:
            raise self.error
        return self.value

    def _body(self):
        if self.actor.body is None:
            try:
                self.actor.body = self.actor.kind.kind(*self.actor.words)
            except Exception as error:
                told = f"The actor died because of an error in its creation task:\n{type(error).__name__}: {error}"
                raise RayActorError(error_msg=told, actor_init_failed=True) from error
        return self.actor.body
