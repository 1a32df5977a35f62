#include <sys/resource.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/checksum.h"
#include "common/file.h"
#include "common/protocol.h"
#include "common/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/checkpoint.h"
#include "replay/checkpoint_file.h"
#include "replay/checkpoint_testing.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

using CheckpointDamageTest = CheckpointTest;
using SharedRowsCheckpointDamageTest = SharedRowsCheckpointTest;

// Wherever a bit of the header has flipped, also where it says which of the files is the newest, or of how many shards.
TEST_F(CheckpointDamageTest, ADamagedHeaderIsReportedAndTheOneBeforeRestored) {
  Shard shard(3, kCheckpointBudget, 1, 1);
  TestWriter writer(*shard.CreateTable(MakePeer("run", "learner"), TestSpec()), 11);
  writer.Append(0, 10);
  ASSERT_TRUE(writer.Insert().ok());
  ASSERT_TRUE(Write(shard, "old").ok());
  ASSERT_TRUE(Write(shard, "new").ok());
  const std::string whole = *ReadFile(File("new"));
  const size_t header_bytes = Split(whole).header.ByteSizeLong();
  for (size_t bit = 0; bit < 8 * header_bytes; ++bit) {
    std::string damaged = whole;
    damaged[whole.size() - kEndBytes - kHeaderChecksumBytes - header_bytes + bit / 8] ^= 1 << bit % 8;
    ASSERT_TRUE(WriteFileAtomically(File("new"), damaged).ok());
    Shard restored(3, kCheckpointBudget, 2, 1);
    testing::internal::CaptureStderr();
    ASSERT_EQ(Restore(restored), "old") << bit;
    ASSERT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("new.replay is not usable")) << bit;
  }
}

// A header that is the first has no checksum of its own.
TEST_F(CheckpointDamageTest, OfAnOlderFormatDamageIsNotTakenForAnotherNumberOfShards) {
  Shard shard(3, kCheckpointBudget, 1, 1);
  ASSERT_TRUE(shard.CreateTable(MakePeer("run", "learner"), TestSpec()).ok());
  ASSERT_TRUE(Write(shard, "old").ok());
  ASSERT_TRUE(Write(shard, "new").ok());
  Parts parts = Split(*ReadFile(File("new")));
  parts.header.set_format(kNewestFormatWithHeaderFirst);
  parts.header.set_shards(3);
  std::string file = Join(parts);
  ASSERT_TRUE(WriteFileAtomically(File("new"), file).ok());
  Shard spread(3, kCheckpointBudget, 2, 1);
  EXPECT_EQ(Restore(spread), "") << "it is whole, and of three shards";
  file.back() ^= 1;
  ASSERT_TRUE(WriteFileAtomically(File("new"), file).ok());
  Shard restored(3, kCheckpointBudget, 2, 1);
  EXPECT_EQ(Restore(restored), "old");
}

TEST_F(SharedRowsCheckpointDamageTest, DamagedFilesArePassedOver) {
  ASSERT_TRUE(Write(*shard_, "old").ok());
  ASSERT_TRUE(Write(*shard_, "new").ok());
  const std::string whole = *ReadFile(File("new"));
  for (size_t i = 0; i < whole.size(); i += 97) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << i % 8));
    ASSERT_TRUE(WriteFileAtomically(File("new"), damaged).ok());
    const std::unique_ptr<Shard> restored = MakeShard();
    ASSERT_EQ(Restore(*restored), "old") << i;
    ASSERT_EQ(restored->Tables().size(), 3u);
  }
}

TEST_F(SharedRowsCheckpointDamageTest, WhatDoesNotFitTogetherIsRefused) {
  ASSERT_TRUE(Write(*shard_, "new").ok());
  const Parts whole = Split(*ReadFile(File("new")));
  const auto restored = [&](const v1::ReplayCheckpointHeader& header, const std::string& body) {
    EXPECT_TRUE(WriteFileAtomically(File("new"), Join({header, body})).ok());
    return !Restore(*MakeShard()).empty();
  };
  ASSERT_TRUE(restored(whole.header, whole.body));
  using Header = v1::ReplayCheckpointHeader;
  const std::vector<std::pair<std::string, std::function<void(Header&)>>> changes = {
      {"a table before the one that it is over", [](Header& h) { h.mutable_tables()->SwapElements(0, 1); }},
      {"a table over one that is not there",
       [](Header& h) { h.mutable_tables(1)->mutable_spec()->set_over("elsewhere"); }},
      {"a table over itself", [](Header& h) { h.mutable_tables(1)->mutable_spec()->set_over("a"); }},
      {"a table over one that is over another", [](Header& h) { h.mutable_tables(2)->mutable_spec()->set_over("a"); }},
      {"a table over another with rows", [](Header& h) { h.mutable_tables(1)->set_rows(1); }},
      {"a table over another without its name", [](Header& h) { h.mutable_tables(1)->mutable_spec()->clear_over(); }},
      {"a writer to a table over another", [](Header& h) { h.mutable_writers(0)->set_table("a"); }},
      {"longer items than those of the rows",
       [](Header& h) { h.mutable_tables(1)->mutable_spec()->set_max_item_rows(5); }},
      {"more items than the file has", [](Header& h) { h.mutable_tables(2)->set_items(1); }},
  };
  for (const auto& [what, change] : changes) {
    Header changed = whole.header;
    change(changed);
    EXPECT_FALSE(restored(changed, whole.body)) << what;
  }
  std::string body = whole.body;
  const auto rows = static_cast<uint32_t>(whole.header.tables(0).rows());
  std::memcpy(body.data() + body.size() - sizeof(ItemRecord), &rows, sizeof(rows));
  EXPECT_FALSE(restored(whole.header, body)) << "an item of a table over another, of a row that is not there";
}

TEST_F(CheckpointDamageTest, DamagedFilesArePassedOver) {
  const std::unique_ptr<Shard> shard = MakeFullShard();
  ASSERT_TRUE(Write(*shard, "old").ok());
  ASSERT_TRUE(Write(*shard, "new").ok());
  const std::string whole = *ReadFile(File("new"));
  const auto restored_from = [&](const std::string& bytes) {
    std::ofstream(File("new"), std::ios::binary) << bytes;  // which does not wait for the disk, thousands of times
    const std::unique_ptr<Shard> restored = MakeShard();
    return Restore(*restored);
  };
  EXPECT_EQ(restored_from(whole), "new");
  for (size_t size = 0; size < whole.size(); ++size) {
    ASSERT_EQ(restored_from(whole.substr(0, size)), "old") << size;
  }
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << i % 8));
    ASSERT_EQ(restored_from(damaged), "old") << i;
  }
  EXPECT_EQ(restored_from(whole + "x"), "old");
  for (const uint64_t length : {uint64_t{0}, uint64_t{whole.size()}, std::numeric_limits<uint64_t>::max()}) {
    std::string wrong = whole;
    std::memcpy(wrong.data() + wrong.size() - kEndBytes, &length, sizeof(length));
    EXPECT_EQ(restored_from(wrong), "old") << "a header of " << length << " bytes";
  }
}

// A checksum shows damage; a file that was made wrong has a right one. Every number in it is looked at.
TEST_F(CheckpointDamageTest, WrongContentsWithARightChecksumAreRefused) {
  const std::unique_ptr<Shard> shard = MakeFullShard();
  ASSERT_TRUE(Write(*shard, "new").ok());
  const std::string whole = *ReadFile(File("new"));
  RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kSampling);
  for (int i = 0; i < 200; ++i) {
    std::string wrong = whole.substr(0, whole.size() - 8);
    // In the header, and anywhere.
    for (const size_t size : {size_t{800}, wrong.size()}) {
      wrong[wrong.size() - 1 - random.Below(size)] = static_cast<char>(random());
    }
    const uint64_t checksum = Checksum(wrong);
    wrong.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
    ASSERT_TRUE(WriteFileAtomically(File("new"), wrong).ok());
    const std::unique_ptr<Shard> restored = MakeShard();
    Restore(*restored);
    // What is taken can be used.
    for (Table* const table : restored->Tables()) {
      if (!table->spec().over().empty()) continue;
      Contents(*table);
      TestWriter writer(table, 1000);
      writer.Append(0, 100);
      writer.Insert().IgnoreError();
    }
  }
}

// Each of the things that docs/formats/replay.md says is refused, in a file that is otherwise whole.
TEST_F(CheckpointDamageTest, WhatDoesNotFitTogetherIsRefused) {
  const std::unique_ptr<Shard> shard = MakeFullShard();
  ASSERT_TRUE(Write(*shard, "new").ok());
  Parts whole = Split(*ReadFile(File("new")));
  v1::ReplayCheckpointHeader& header = whole.header;
  const std::string& body = whole.body;
  const auto restored = [&](const v1::ReplayCheckpointHeader& changed, const std::string& changed_body) {
    EXPECT_TRUE(WriteFileAtomically(File("new"), Join({changed, changed_body})).ok());
    const std::unique_ptr<Shard> empty = MakeShard();
    const std::string name = Restore(*empty);
    EXPECT_EQ(empty->Tables().size(), name.empty() ? 0u : 1u);
    return !name.empty();
  };
  ASSERT_TRUE(restored(header, body));

  using Header = v1::ReplayCheckpointHeader;
  const auto lane = [](Header& h) { return h.mutable_writers(0)->mutable_lanes(0); };
  ASSERT_GE(lane(header)->window_size(), 2);
  const std::vector<std::pair<std::string, std::function<void(Header&)>>> changes = {
      {"a later format", [](Header& h) { h.set_format(kCheckpointFormat + 1); }},
      {"no format", [](Header& h) { h.clear_format(); }},
      {"the sizes of another format", [](Header& h) { h.set_format(1); }},
      {"more rows than the file has", [](Header& h) { h.mutable_tables(0)->set_rows(h.tables(0).rows() + 1); }},
      {"fewer rows than the file has", [](Header& h) { h.mutable_tables(0)->set_rows(h.tables(0).rows() - 1); }},
      {"more rows than fit", [](Header& h) { h.mutable_tables(0)->set_rows(uint64_t{1} << 62); }},
      {"size of a row", [](Header& h) { h.mutable_tables(0)->set_row_bytes(h.tables(0).row_bytes() + 4); }},
      {"more items than the file has", [](Header& h) { h.mutable_tables(0)->set_items(h.tables(0).items() + 1); }},
      {"more items than a file can have", [](Header& h) { h.mutable_tables(0)->set_items(uint64_t{1} << 62); }},
      {"budget", [](Header& h) { h.mutable_tables(0)->mutable_spec()->set_max_bytes(kCheckpointBudget + 1); }},
      {"the same table twice", [](Header& h) { *h.add_tables() = Header(h).tables(0); }},
      {"the same writer twice", [](Header& h) { *h.add_writers() = Header(h).writers(0); }},
      {"a lane's row that is not there", [&](Header& h) { lane(h)->set_window(1, h.tables(0).rows()); }},
      {"a lane's rows in another order", [&](Header& h) { lane(h)->mutable_window()->SwapElements(0, 1); }},
      {"a lane with more rows than it had", [&](Header& h) { lane(h)->set_next_row(1); }},
      // The next chunk would have taken rows out of an empty window.
      {"a lane whose episode starts after its newest row",
       [&](Header& h) {
         lane(h)->set_in_episode(true);
         lane(h)->set_episode_first_row(lane(h)->next_row() + 100);
       }},
      // The next chunk would have linked its rows into items that go on otherwise.
      {"a lane that ends before its newest row", [&](Header& h) { lane(h)->mutable_window()->RemoveLast(); }},
      {"two lanes with one newest row",
       [&](Header& h) { (*h.mutable_writers(0)->add_lanes() = *lane(h)).set_lane(99); }},
      {"a highest priority that is none",
       [](Header& h) {
         h.mutable_tables(0)->mutable_state()->set_max_priority(std::numeric_limits<float>::infinity());
       }},
  };
  for (const auto& [what, change] : changes) {
    Header changed = header;
    change(changed);
    EXPECT_FALSE(restored(changed, body)) << what;
  }

  const auto with = [&](size_t offset, auto value) {
    std::string changed = body;
    std::memcpy(changed.data() + offset, &value, sizeof(value));
    return changed;
  };
  const uint32_t rows = static_cast<uint32_t>(header.tables(0).rows());
  const size_t item = body.size() - sizeof(ItemRecord);  // the newest
  EXPECT_FALSE(restored(header, with(0, rows))) << "a link that leads nowhere";
  EXPECT_FALSE(restored(header, with(item, rows))) << "an item's first row that is not there";
  EXPECT_FALSE(restored(header, with(item + 4, uint16_t{0}))) << "an item without rows";
  EXPECT_FALSE(restored(header, with(item + 4, uint16_t{60000}))) << "an item of more rows than follow";
  EXPECT_FALSE(restored(header, with(item + 8, -1.0f))) << "an item with a priority that is none";
  EXPECT_TRUE(restored(header, with(item + 6, uint16_t{7}))) << "how often it was sampled is free";
}

// A file of a few kilobytes that announces as many rows as the table may hold took the memory for them first.
TEST_F(CheckpointDamageTest, RowsThatAreNotThereTakeNoMemory) {
  constexpr uint64_t kLargeBudget = 1 << 30;
  ASSERT_TRUE(Write(*MakeFullShard(), "new").ok());
  Parts parts = Split(*ReadFile(File("new")));
  v1::TableCheckpoint& table = *parts.header.mutable_tables(0);
  table.mutable_spec()->set_max_bytes(kLargeBudget);
  table.set_rows(kLargeBudget / 2 / table.row_bytes());
  ASSERT_TRUE(WriteFileAtomically(File("new"), Join(parts)).ok());
  const auto peak_kilobytes = [] {
    rusage usage;
    EXPECT_EQ(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
  };
  const long before = peak_kilobytes();
  Shard restored(3, kLargeBudget, 1);
  EXPECT_EQ(Restore(restored), "");
  EXPECT_LT(peak_kilobytes() - before, 100 << 10);
}

TEST_F(CheckpointDamageTest, ItemsOfOlderFilesGetWhatTheyHadNot) {
  const std::unique_ptr<Shard> shard = MakeFullShard();
  ASSERT_TRUE(Write(*shard, "new").ok());
  Parts parts = Split(*ReadFile(File("new")));
  const v1::TableCheckpoint& table = parts.header.tables(0);
  const size_t items_at = table.rows() * table.row_bytes();
  const std::string records = parts.body.substr(items_at);
  for (uint32_t format = kOldestCheckpointFormat; format <= kNewestFormatWithHeaderFirst; ++format) {
    // The same as it was written then.
    parts.body.resize(items_at);
    for (uint64_t i = 0; i < table.items(); ++i) {
      parts.body += records.substr(i * sizeof(ItemRecord), ItemBytes(format));
    }
    parts.header.set_format(format);
    ASSERT_TRUE(WriteFileAtomically(File("new"), Join(parts)).ok());

    const std::unique_ptr<Shard> restored = MakeShard();
    EXPECT_EQ(Restore(*restored), "new") << format;
    const Table::Snapshot snapshot = restored->Tables()[0]->TakeSnapshot();
    ASSERT_EQ(snapshot.tables[0].items.size(), table.items());
    const char* next = records.data();
    for (const Item& item : snapshot.tables[0].items) {
      ItemRecord record;
      std::memcpy(&record, next, sizeof(record));
      next += sizeof(record);
      EXPECT_EQ(item.priority, format == 1 ? 1 : record.priority);
      EXPECT_EQ(item.rows, record.rows);
      EXPECT_EQ(item.context, 0u);
    }
  }
}

}  // namespace
}  // namespace headrace
