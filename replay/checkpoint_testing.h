// What the tests of checkpoints share: a shard with a full table, and files that are taken apart.
#ifndef HEADRACE_REPLAY_CHECKPOINT_TESTING_H_
#define HEADRACE_REPLAY_CHECKPOINT_TESTING_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/protocol.h"
#include "common/test_directory.h"
#include "gtest/gtest.h"
#include "proto/checkpoint.pb.h"
#include "proto/replay.pb.h"
#include "replay/checkpoint.h"
#include "replay/shard.h"
#include "replay/table.h"
#include "replay/testing.h"

namespace headrace {

inline constexpr uint64_t kCheckpointBudget = 4 << 20;

// Everything that a table and those over it hold, in words: items with their rows, and writers with their lanes' rows.
std::string Contents(Table& table);

// A checkpoint file without its magic and checksum.
struct Parts {
  v1::ReplayCheckpointHeader header;
  std::string body;
};

inline constexpr size_t kTablesAt = 24;  // after the magic and what says where the header is
inline constexpr size_t kEndBytes = 16;  // the header's length and the checksum
inline constexpr size_t kHeaderChecksumBytes = 8;

Parts Split(const std::string& file);
// As a program of the header's format would have written it.
std::string Join(const Parts& parts);

class CheckpointTest : public testing::Test {
 protected:
  static std::unique_ptr<Shard> MakeShard() { return std::make_unique<Shard>(3, kCheckpointBudget, 1); }
  // A table with items of 4 rows, some sampled, some removed, from two writers in the middle of episodes.
  std::unique_ptr<Shard> MakeFullShard() {
    std::unique_ptr<Shard> shard = MakeShard();
    v1::TableSpec spec = TestSpec();
    spec.set_max_items(40);
    Table& table = **shard->CreateTable(MakePeer("run", "learner"), spec);
    TestWriter first(&table, 11, {.rows = 4, .stride = 2});
    TestWriter second(&table, 12, {.rows = 4, .stride = 2}, 5);
    for (int i = 0; i < 6; ++i) {
      first.Append(0, 10, i % 2 == 0 ? v1::TERMINATED : v1::NOT_ENDED);
      first.Append(1, 3);
      EXPECT_TRUE(first.Insert().ok());
      second.Append(0, 5);
      EXPECT_TRUE(second.Insert().ok());
    }
    Table::Batch batch;
    EXPECT_TRUE(table.Sample({30, 1, 1}, batch, {&table, [] {}}).ok());
    for (const ItemStore::Drawn& item : batch.items()) {
      EXPECT_TRUE(table.UpdatePriorities(1, {{item.key}}, {{0.5f + static_cast<float>(item.first_row)}}).ok());
    }
    return shard;
  }
  absl::StatusOr<v1::CheckpointResponse> Write(const Shard& shard, const std::string& name, uint32_t keep = 10,
                                               const std::string& committed = "") {
    v1::CheckpointRequest request;
    request.set_name(name);
    request.set_keep(keep);
    request.set_committed(committed);
    return WriteCheckpoint(shard, directory_.path(), request);
  }
  // The name of the checkpoint that a new shard restores.
  std::string Restore(Shard& shard) {
    const absl::StatusOr<std::string> name = RestoreNewest(directory_.path(), shard);
    EXPECT_TRUE(name.ok()) << name.status();
    return name.value_or("");
  }
  std::string File(const std::string& name) const { return directory_.path() + "/" + name + ".replay"; }

  TestDirectory directory_;
};

// A table "t", and over its rows "a", whose name comes first, and a queue.
class SharedRowsCheckpointTest : public CheckpointTest {
 protected:
  SharedRowsCheckpointTest() {
    v1::TableSpec spec = TestSpec();
    spec.set_max_items(20);
    table_ = *shard_->CreateTable(MakePeer("run", "learner"), spec);
    spec = SpecOver("a");
    spec.set_sampler(v1::PROPORTIONAL);
    spec.set_max_items(30);
    other_ = *shard_->CreateTable(MakePeer("run", "learner"), spec);
    spec = SpecOver("queue");
    spec.set_queue(true);
    spec.set_max_items(1000);
    spec.set_max_times_sampled(1);
    queue_ = *shard_->CreateTable(MakePeer("run", "learner"), spec);
    for (const uint64_t id : {11, 12}) {
      TestWriter writer(table_, id, kPattern, 1, kOthers);
      for (const v1::EpisodeEnd end : {v1::NOT_ENDED, v1::TERMINATED, v1::NOT_ENDED}) {
        writer.Append(0, 11, end);
        EXPECT_TRUE(writer.Insert().ok());
      }
    }
    Table::Batch batch;
    EXPECT_TRUE(other_->Sample({25, 1, 1}, batch, {&batch, [] {}}).ok());
    for (const ItemStore::Drawn& item : batch.items()) {
      EXPECT_TRUE(other_->UpdatePriorities(1, {{item.key}}, {{0.5f + static_cast<float>(item.first_row)}}).ok());
    }
  }

  const ItemPattern kPattern = {.rows = 2, .stride = 1};
  const std::vector<TablePattern> kOthers = {{"a", {.rows = 4, .stride = 1}}, {"queue", {.rows = 3, .stride = 3}}};
  const std::unique_ptr<Shard> shard_ = MakeShard();
  Table* table_;
  Table* other_;
  Table* queue_;
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_CHECKPOINT_TESTING_H_
