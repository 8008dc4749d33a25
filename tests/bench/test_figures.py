import pytest

from hivewire_service.bench.figures import Distribution, percentile


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (0.991, 100.0), (1.0, 100.0)])
def test_a_percentile_is_the_smallest_value_that_its_share_does_not_exceed(share, value):
    assert percentile([float(number) for number in range(1, 101)], share) == value


def test_one_measurement_is_all_of_its_distribution():
    assert Distribution.of([0.0042]) == Distribution(4.2, 4.2, 4.2, 4.2)


def test_the_order_of_measuring_does_not_count():
    assert Distribution.of([0.003, 0.001, 0.002]) == Distribution(2.0, 3.0, 3.0, 3.0)
