"""TensorBoard reads what EventFile writes."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

from tensorboard.backend.event_processing import event_accumulator, event_file_loader

WRITER = sys.argv.pop(1)


class EventFileTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        subprocess.run([WRITER, self.directory], check=True)

    def test_scalars_come_back_with_steps_and_times_and_without_the_fold_of_a_resume(self):
        accumulator = event_accumulator.EventAccumulator(str(self.directory))
        accumulator.Reload()
        self.assertEqual(sorted(accumulator.Tags()["scalars"]), ["charts/SPS", "rollout/ep_rew_mean"])
        events = accumulator.Scalars("rollout/ep_rew_mean")
        # 30 and 40 of the first start came after the checkpoint at 20 and are forgotten.
        self.assertEqual([(e.step, e.value) for e in events], [(10, -12.5), (20, -25), (30, 60), (3000000000, 6e9)])
        self.assertEqual([e.wall_time for e in events], [1.7e9, 1.7e9, 1.7e9 + 100, 1.7e9 + 100])

    def test_a_record_cut_short_ends_the_file_without_spoiling_it(self):
        path = sorted(self.directory.iterdir())[0]
        whole = path.read_bytes()
        path.write_bytes(whole[:-5])
        events = list(event_file_loader.LegacyEventFileLoader(str(path)).Load())
        # Version, start and three of four summaries.
        self.assertEqual([e.step for e in events], [0, 0, 10, 20, 30])
        self.assertEqual(events[0].file_version, "brain.Event:2")

    def test_a_flipped_bit_is_noticed(self):
        path = sorted(self.directory.iterdir())[0]
        damaged = bytearray(path.read_bytes())
        damaged[-10] ^= 1
        path.write_bytes(damaged)
        events = list(event_file_loader.LegacyEventFileLoader(str(path)).Load())
        self.assertEqual([e.step for e in events], [0, 0, 10, 20, 30])


if __name__ == "__main__":
    unittest.main()
