"""Models are evaluated, in the end, at longer distances than they were trained for."""

from bench.execute.run import run
from bench.record.frames import results_frame
from bench.record.store import RunFolder
from bench.spec.identity import run_id
from tasks import Adding, CopyMemory
from tests.bench.conftest import make_config


class TestLengthened:
    def test_a_trained_model_is_evaluated_at_longer_distances(self, tmp_path):
        config = make_config(tmp_path, lengthen=[2, 4], task={"length": 6, "solved_mse": 1e9})
        found = run(config)["lengthened"]
        assert [at["factor"] for at in found] == [1, 2, 4]
        # At the length trained for, on the sequences held out in training, it is the final evaluation.
        assert found[0]["loss"] == run(config)["final_loss"]
        assert found[0]["score"]["mse"] == run(config)["final_score.mse"]
        assert found[2]["loss"] != found[0]["loss"]
        assert all(at["solved"] for at in found)
        table = results_frame([RunFolder(tmp_path / "scratch", run_id(config.run)).read()])
        assert table["at_4x.mse"].iloc[0] == found[2]["score"]["mse"]

    def test_longer_problems_are_those_of_the_same_kind(self):
        assert vars(Adding(10, solved_mse=0.02).lengthened(3)) == vars(Adding(30, solved_mse=0.02))
        longer = CopyMemory(4, 3, 5, solved_accuracy=0.9).lengthened(2)
        assert vars(longer) == vars(CopyMemory(4, 3, 10, solved_accuracy=0.9))
