"""Nav2's lifecycle manager, as lifecycle nodes see it.

The services, transitions, order and checks are those of nav2_lifecycle_manager in Humble, Jazzy
and Kilted, with `bond_timeout: 0.0`. Nav2 gives up on a state that does not come within 2 s
(Humble, Jazzy) or 5 s; here a state that is on its way has the test's patience.
"""

import time

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState

AFTER = {
    Transition.TRANSITION_CONFIGURE: State.PRIMARY_STATE_INACTIVE,
    Transition.TRANSITION_CLEANUP: State.PRIMARY_STATE_UNCONFIGURED,
    Transition.TRANSITION_ACTIVATE: State.PRIMARY_STATE_ACTIVE,
    Transition.TRANSITION_DEACTIVATE: State.PRIMARY_STATE_INACTIVE,
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN: State.PRIMARY_STATE_FINALIZED,
}
PRIMARY = {
    State.PRIMARY_STATE_UNCONFIGURED,
    State.PRIMARY_STATE_INACTIVE,
    State.PRIMARY_STATE_ACTIVE,
    State.PRIMARY_STATE_FINALIZED,
}
NAV2_PATIENCE = 5.0
FORWARD = {Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE}


class LifecycleManager:
    """Each command returns whether all nodes followed."""

    def __init__(self, bench, names):
        """`names`: of the nodes, in the order in which they are started."""
        self._bench = bench
        self._clients = {
            name: bench.peer.create_client(ChangeState, f"{name}/change_state") for name in names
        }
        for client in self._clients.values():
            bench.spin_until(client.service_is_ready)

    def startup(self):
        return self._change(Transition.TRANSITION_CONFIGURE) and self.resume()

    def pause(self):
        return self._change(Transition.TRANSITION_DEACTIVATE)

    def resume(self):
        return self._change(Transition.TRANSITION_ACTIVATE)

    def reset(self):
        return self.pause() and self._change(Transition.TRANSITION_CLEANUP)

    def shutdown(self):
        """Nav2 goes on where a step fails."""
        steps = (
            Transition.TRANSITION_DEACTIVATE,
            Transition.TRANSITION_CLEANUP,
            Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
        )
        return all([self._change(step) for step in steps])

    def _change(self, transition):
        """Stops at the first node that fails. All but startup goes in reverse order."""
        names = list(self._clients)
        ordered = names if transition in FORWARD else reversed(names)
        return all(self._change_one(name, transition) for name in ordered)

    def _change_one(self, name, transition):
        """Only the state counts: Nav2 does not look at `success` of the response.

        A response that is sent before the server's side has found the client is lost. After Nav2's
        patience the state tells how the request ended.
        """
        request = ChangeState.Request(transition=Transition(id=transition))
        future = self._clients[name].call_async(request)
        deadline = time.monotonic() + NAV2_PATIENCE
        self._bench.spin_until(lambda: future.done() or time.monotonic() > deadline)
        while (state := self._state(name)) not in PRIMARY:
            pass
        return state == AFTER[transition]

    def _state(self, name):
        answer = self._bench.call(GetState, f"{name}/get_state", GetState.Request())
        return answer.current_state.id
