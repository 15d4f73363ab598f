from km3d_ros.node.log import Backoff


def logged_at(seconds, message=lambda now: f"none for {now} s"):
    backoff = Backoff()
    return [now for now in seconds if backoff.is_due(message(now), now)]


def test_lasting_problem_is_logged_less_and_less_often():
    assert logged_at(range(1000)) == [0, 5, 15, 35, 75, 155, 315, 615, 915]


def test_another_problem_is_logged_at_once():
    assert logged_at(range(9), lambda now: "first" if now < 7 else "second") == [0, 5, 7]
