"""Nav2's lifecycle manager, as lifecycle nodes see it.

The services, transitions, order and checks are those of nav2_lifecycle_manager in Humble, Jazzy
and Kilted, with `bond_timeout: 0.0`. Nav2 gives up on a state that does not come within 2 s
(Humble, Jazzy) or 5 s; here the test's patience counts.
"""

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState

AFTER = {
    Transition.TRANSITION_CONFIGURE: State.PRIMARY_STATE_INACTIVE,
    Transition.TRANSITION_CLEANUP: State.PRIMARY_STATE_UNCONFIGURED,
    Transition.TRANSITION_ACTIVATE: State.PRIMARY_STATE_ACTIVE,
    Transition.TRANSITION_DEACTIVATE: State.PRIMARY_STATE_INACTIVE,
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN: State.PRIMARY_STATE_FINALIZED,
}
FORWARD = {Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE}


class LifecycleManager:
    """Each command returns whether all nodes followed."""

    def __init__(self, bench, names):
        """`names`: of the nodes, in the order in which they are started."""
        self._bench = bench
        self._clients = {
            name: (
                bench.peer.create_client(ChangeState, f"{name}/change_state"),
                bench.peer.create_client(GetState, f"{name}/get_state"),
            )
            for name in names
        }
        for _, get_state in self._clients.values():
            bench.spin_until(get_state.service_is_ready)

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
        """Only the state counts: Nav2 does not look at `success` of the response."""
        change_state, get_state = self._clients[name]
        request = ChangeState.Request(transition=Transition(id=transition))
        self._ask(change_state, request)
        return self._ask(get_state, GetState.Request()).current_state.id == AFTER[transition]

    def _ask(self, client, request):
        """One request, which is not repeated."""
        self._bench.spin_until(client.service_is_ready)
        future = client.call_async(request)
        self._bench.spin_until(future.done)
        return future.result()
