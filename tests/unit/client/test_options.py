import logging

import pytest

from swarmlearning._options import CheckinModel, OwnMergeMethod, SLMergeMethod, describe, parse
from swarmlearning.errors import SwarmError

PLATFORM = ("model", "lossFunction")
log = logging.getLogger("test.options")
CHECKIN = "Allowed values: ['inactive', 'active', 'snapshot']"
MERGE = "Allowed values: ['mean', 'coordmedian', 'geomedian', 'normclip', 'x-...']"
WEIGHTAGE = "Node weightage should be a number between 1-100. Provided value: "
ADAPTIVE = (
    "For adaptive sync, valid adsValData is mandatory and a positive adsValBatchSize if applicable"
)


def parsed(sync=128, peers=2, contract="c", **kwargs):
    return parse(sync, peers, contract, kwargs, PLATFORM, log)


def test_defaults_are_hpes():
    options = parsed()
    assert (options.sync_frequency, options.min_peers, options.contract) == (128, 2, "c")
    assert options.total_epochs == 0
    assert options.checkin is CheckinModel.snapshot
    assert options.weightage == 1
    assert options.merge_method is SLMergeMethod.mean
    assert options.adaptive is False
    assert options.val_data is None
    assert options.extra == {}


@pytest.mark.parametrize(
    ("kwargs", "field", "value"),
    [
        ({"sync": "7"}, "sync_frequency", 7),
        ({"sync": 7.9}, "sync_frequency", 7),
        ({"peers": True}, "min_peers", 1),
        ({"contract": ""}, "contract", ""),
        ({"totalEpochs": 3}, "total_epochs", 3),
        ({"checkinModelOnTrainEnd": "active"}, "checkin", CheckinModel.active),
        ({"nodeWeightage": 33.7}, "weightage", 33),
        ({"nodeWeightage": "100"}, "weightage", 100),
        ({"mergeMethod": "GeoMedian"}, "merge_method", SLMergeMethod.geomedian),
        ({"mergeMethod": "normclip"}, "merge_method", SLMergeMethod.normclip),
        ({"mergeMethod": "X-Trimmed_2"}, "merge_method", OwnMergeMethod("x-trimmed_2")),
        ({"useAdaptiveSync": 1, "adsValData": [0]}, "adaptive", True),
        ({"adsValBatchSize": "anything"}, "val_batch_size", "anything"),
        ({"adsValBatch_size": 32}, "val_batch_size", 32),
        ({"adsValBatch_size": 32, "adsValBatchSize": 64}, "val_batch_size", 64),
        ({"adsValBatchSize": 64, "adsValBatch_size": 32}, "val_batch_size", 64),
        ({"mlPlatform": "PYTORCH"}, "extra", {"ml_platform": "PYTORCH"}),
        ({"lossFunction": "MSELoss"}, "extra", {"lossFunction": "MSELoss"}),
        ({}, "trainable", False),
        ({"exchange": "all"}, "trainable", False),
        ({"exchange": "trainable"}, "trainable", True),
    ],
)
def test_accepted_values(kwargs, field, value, caplog):
    assert getattr(parsed(**kwargs), field) == value
    assert caplog.records == []


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"sync": 0}, "syncFrequency has to be a positive integer"),
        ({"sync": -1}, "syncFrequency has to be a positive integer"),
        ({"sync": None}, "syncFrequency has to be a positive integer"),
        ({"sync": "many"}, "syncFrequency has to be a positive integer"),
        ({"sync": float("inf")}, "syncFrequency has to be a positive integer"),
        ({"sync": float("nan")}, "syncFrequency has to be a positive integer"),
        ({"peers": 0}, "minPeers have to be a positive integer"),
        ({"peers": []}, "minPeers have to be a positive integer"),
        ({"contract": None}, "Invalid Training Contract"),
        ({"totalEpochs": 0}, "totalEpochs value is not a positive integer"),
        ({"totalEpochs": "x"}, "totalEpochs value is not a positive integer"),
        (
            {"checkinModelOnTrainEnd": "Snapshot"},
            f"Invalid value checkinModelOnTrainEnd: Snapshot. {CHECKIN}",
        ),
        (
            {"checkinModelOnTrainEnd": None},
            f"Invalid value checkinModelOnTrainEnd: None. {CHECKIN}",
        ),
        (
            {"exchange": "head"},
            "Invalid value exchange: head. Allowed values: ['all', 'trainable']",
        ),
        ({"nodeWeightage": 0}, WEIGHTAGE + "0"),
        ({"nodeWeightage": 0.9}, WEIGHTAGE + "0.9"),
        ({"nodeWeightage": 101}, WEIGHTAGE + "101"),
        ({"nodeWeightage": "heavy"}, WEIGHTAGE + "heavy"),
        ({"nodeWeightage": None}, WEIGHTAGE + "None"),
        ({"mergeMethod": "Median"}, f"Invalid value mergeMethod: median. {MERGE}"),
        ({"mergeMethod": "x-"}, f"Invalid value mergeMethod: x-. {MERGE}"),
        ({"mergeMethod": "x-..."}, f"Invalid value mergeMethod: x-.... {MERGE}"),
        ({"mergeMethod": f"x-{'a' * 30}"}, f"Invalid value mergeMethod: x-{'a' * 30}. {MERGE}"),
        ({"mergeMethod": None}, f"Invalid value mergeMethod: none. {MERGE}"),
        ({"useAdaptiveSync": True}, ADAPTIVE),
    ],
)
def test_errors_have_hpes_words(kwargs, error):
    with pytest.raises(SwarmError) as caught:
        parsed(**kwargs)
    assert str(caught.value) == error


def test_checks_come_in_hpes_order():
    everything_wrong = {
        "totalEpochs": 0,
        "checkinModelOnTrainEnd": "x",
        "nodeWeightage": 0,
        "mergeMethod": "x",
        "useAdaptiveSync": True,
    }
    with pytest.raises(SwarmError, match="syncFrequency"):
        parse(0, 0, None, everything_wrong, PLATFORM, log)
    with pytest.raises(SwarmError, match="minPeers"):
        parse(1, 0, None, everything_wrong, PLATFORM, log)
    with pytest.raises(SwarmError, match="Invalid Training Contract"):
        parse(1, 1, None, everything_wrong, PLATFORM, log)
    for name, words in zip(
        list(everything_wrong),
        ("totalEpochs", "checkinModel", "weightage", "mergeMethod", "adaptive sync"),
        strict=True,
    ):
        with pytest.raises(SwarmError, match=words):
            parse(1, 1, "c", everything_wrong, PLATFORM, log)
        del everything_wrong[name]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("nodeWeight", " Did you mean 'nodeWeightage'?"),
        ("merge_method", " Did you mean 'mergeMethod'?"),
        ("syncfrequency", " Did you mean 'syncFrequency'?"),
        ("lossfunction", " Did you mean 'lossFunction'?"),
        ("zzz", ""),
    ],
)
def test_an_unknown_argument_is_ignored_with_a_warning(name, hint, caplog):
    assert parsed(**{name: 50}) == parsed()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.messages == [f"SwarmCallback does not know the argument {name!r}, ignored.{hint}"]


def test_the_parameters_are_logged_as_hpe_does(caplog):
    caplog.set_level("INFO")
    describe(parsed(totalEpochs=2, adsValBatchSize=8), log)
    assert caplog.messages == [
        "***Swarm Callback Params: Inside SwarmCallbackBase at user side***",
        "syncFrequency = 128",
        "minPeers = 2",
        "trainingContract = c",
        "valBatchSize = 8",
        "useAdaptiveSync = False",
        "checkinModelOnTrainEnd = CheckinModel.snapshot",
        "nodeWeightage = 1",
        "mergeMethod = SLMergeMethod.mean",
    ]


@pytest.mark.parametrize(
    ("method", "line"),
    [("normclip", "mergeMethod = SLMergeMethod.normclip"), ("x-mine", "mergeMethod = x-mine")],
)
def test_a_method_of_ones_own_is_logged_by_its_name(method, line, caplog):
    caplog.set_level("INFO")
    describe(parsed(mergeMethod=method), log)
    assert line in caplog.messages


def test_missing_epochs_make_a_banner_of_four_lines(caplog):
    caplog.set_level("INFO")
    describe(parsed(), log)
    assert len(caplog.records) == 9 + 4
    assert {record.levelname for record in caplog.records} == {"INFO"}
    assert "WARNING: totalEpochs is not given." in caplog.messages
