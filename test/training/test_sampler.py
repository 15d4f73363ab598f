import pytest

from km3d_ros.training.sampler import Kind, StepOrder


def order(start=0, steps=3, **share):
    return StepOrder(
        {Kind.LABELLED: (6, 4), Kind.UNLABELLED: (5, 2)}, start, steps, seed=1, **share
    )


def test_every_frame_is_seen_once_an_epoch_in_an_order_of_its_own():
    labelled = [key for step in order() for key in step if key.kind == Kind.LABELLED]
    assert sorted(key[1:] for key in labelled) == [(e, i) for e in (0, 1) for i in range(6)]
    assert [key.index for key in labelled[:6]] != [key.index for key in labelled[6:]]


def test_unlabelled_frames_have_epochs_of_their_own():
    unlabelled = [key for step in order() for key in step if key.kind == Kind.UNLABELLED]
    assert [key.epoch for key in unlabelled] == [0] * 5 + [1]
    assert sorted(key.index for key in unlabelled[:5]) == list(range(5))


@pytest.mark.parametrize("start", [1, 2, 3])
def test_resumed_order_goes_on_where_the_former_stopped(start):
    assert list(order(start)) == list(order())[start:]


def test_order_does_not_depend_on_the_number_of_steps():
    assert list(order(steps=30))[:3] == list(order())


def test_processes_share_each_step():
    shares = [list(order(rank=rank, ranks=2)) for rank in (0, 1)]
    for whole, first, second in zip(order(), *shares, strict=True):
        assert len(first) == len(second)
        assert sorted(first + second) == sorted(whole)


def test_seeds_differ():
    assert list(order()) != list(StepOrder(order().kinds, 0, 3, seed=2))
