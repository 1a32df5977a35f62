// Stacks of rows that shards make when they are sampled, against stacks made from the rows as they were written.
#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "common/protocol.h"
#include "common/random.h"
#include "common/test_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/checkpoint.h"
#include "replay/shard.h"
#include "replay/table.h"
#include "replay/testing.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kStack = 4;
constexpr uint32_t kItemRows = 3;
constexpr uint32_t kLanes = 2;
using Observation = std::array<float, 2>;  // TestRow's: lane and row

v1::TableSpec StackingSpec() {
  v1::TableSpec spec = TestSpec();
  spec.set_context_rows(kStack - 1);
  spec.set_max_item_rows(kStack - 1 + kItemRows);
  return spec;
}

// Appends rows to a lane, and remembers where its episodes begin.
class EpisodeWriter {
 public:
  explicit EpisodeWriter(Table* table, ItemPattern pattern = {.rows = kItemRows, .stride = 1})
      : writer_(table, 1, pattern) {}

  void Append(uint32_t lane, uint32_t rows, v1::EpisodeEnd end) {
    if (!in_episode_[lane]) starts_[lane].push_back(rows_[lane]);
    in_episode_[lane] = end == v1::NOT_ENDED;
    rows_[lane] += rows;
    writer_.Append(lane, rows, end);
  }
  void Insert() { ASSERT_EQ(*writer_.Insert(), Table::Outcome::kDone); }

  // What a stack up to this row must hold.
  std::vector<Observation> Stack(uint32_t lane, uint64_t row) const {
    const uint64_t start = *std::prev(std::upper_bound(starts_.at(lane).begin(), starts_.at(lane).end(), row));
    std::vector<Observation> stack;
    for (uint32_t back = kStack; back-- > 0;) {
      stack.push_back(row >= start + back ? TestRow(lane, row - back).observation : Observation{});
    }
    return stack;
  }

 private:
  TestWriter writer_;
  std::map<uint32_t, std::vector<uint64_t>> starts_;
  std::map<uint32_t, uint64_t> rows_;
  std::map<uint32_t, bool> in_episode_;
};

// Samples items and compares the stacks of each of their rows; returns how many stacks were cut short by a start.
int CompareStacks(Table& table, const EpisodeWriter& writer, uint32_t count) {
  Table::Batch batch;
  EXPECT_EQ(*table.Sample({count, kItemRows, 3}, batch, {&table, [] {}}), Table::Outcome::kDone);
  const std::vector<Slice> slices = {{.column = 0, .first_row = 0, .rows = kItemRows, .stack = kStack},
                                     {.column = 0, .first_row = 0, .rows = kItemRows}};
  std::vector<Observation> stacks(count * kItemRows * kStack);
  std::vector<Observation> rows(count * kItemRows);
  EXPECT_EQ(BytesPerItem(slices[0], table.layout()) * count, stacks.size() * sizeof(Observation));
  const std::vector<std::byte*> blocks = {reinterpret_cast<std::byte*>(stacks.data()),
                                          reinterpret_cast<std::byte*>(rows.data())};
  table.Gather(batch.items(), slices, blocks);
  int cut = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto lane = static_cast<uint32_t>(rows[i][0]);
    const auto row = static_cast<uint64_t>(rows[i][1]);
    const std::vector<Observation> stack(stacks.begin() + static_cast<int64_t>(i * kStack),
                                         stacks.begin() + static_cast<int64_t>((i + 1) * kStack));
    const std::vector<Observation> expected = writer.Stack(lane, row);
    EXPECT_EQ(stack, expected) << "lane " << lane << ", row " << row;
    cut += expected.front() != TestRow(lane, row - std::min<uint64_t>(row, kStack - 1)).observation;
  }
  return cut;
}

// Episodes of 1 to 12 rows (lane 1 holds what TestRow calls 1: no observation of it is all zeros), in chunks that end
// anywhere.
void WriteEpisodes(EpisodeWriter& writer, int chunks, RandomStream& random) {
  for (int chunk = 0; chunk < chunks; ++chunk) {
    for (uint32_t part = 0; part < 4; ++part) {
      const auto rows = static_cast<uint32_t>(1 + 6 * random.Uniform());
      const bool ends = random.Uniform() < 0.4;
      writer.Append(1 + part % kLanes, rows, ends ? v1::TERMINATED : v1::NOT_ENDED);
    }
    writer.Insert();
  }
}

class FrameStackTest : public testing::TestWithParam<bool> {
 protected:
  // Whether items reach over the ends of episodes.
  bool span_episodes() const { return GetParam(); }
  ItemPattern Pattern() const { return {.rows = kItemRows, .stride = 1, .span_episodes = span_episodes()}; }
  v1::TableSpec Spec() const {
    v1::TableSpec spec = StackingSpec();
    spec.set_items_span_episodes(span_episodes());
    return spec;
  }
  RandomStream random_{17};
};
INSTANTIATE_TEST_SUITE_P(Items, FrameStackTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "SpanEpisodes" : "LieWithinEpisodes"; });

TEST_P(FrameStackTest, HoldsTheEpisodesLastRowsAndZerosBeforeItsStart) {
  const std::unique_ptr<Table> table = *Table::Create(Spec(), 0, 1);
  EpisodeWriter writer(table.get(), Pattern());
  WriteEpisodes(writer, 100, random_);
  EXPECT_GT(CompareStacks(*table, writer, 500), 100);
}

TEST_P(FrameStackTest, RowsOfTheContextStayAsLongAsTheirItem) {
  v1::TableSpec spec = Spec();
  spec.set_max_items(50);
  spec.set_max_bytes(1 << 14);  // rows are used again and again
  const std::unique_ptr<Table> table = *Table::Create(spec, 0, 1);
  EpisodeWriter writer(table.get(), Pattern());
  for (int round = 0; round < 50; ++round) {
    WriteEpisodes(writer, 20, random_);
    CompareStacks(*table, writer, 50);
  }
  EXPECT_GT(table->State().removed_items(), 1000u);
}

TEST_P(FrameStackTest, IsTheSameAfterARestore) {
  const TestDirectory directory;
  Shard shard(3, 1 << 22, 1);
  Table& table = **shard.CreateTable(MakePeer("run", "learner"), Spec());
  EpisodeWriter writer(&table, Pattern());
  WriteEpisodes(writer, 30, random_);
  v1::CheckpointRequest request;
  request.set_name("one");
  request.set_keep(1);
  ASSERT_TRUE(WriteCheckpoint(shard, directory.path(), request).ok());
  Shard restored(3, 1 << 22, 2);
  ASSERT_EQ(*RestoreNewest(directory.path(), restored), "one");
  EXPECT_GT(CompareStacks(*restored.Tables()[0], writer, 500), 100);
}

TEST(FrameStackAfterLossTest, ItemsWhoseContextWasLostAreLost) {
  const std::unique_ptr<Table> table = *Table::Create(StackingSpec(), 0, 1);
  // The writer still has its second chunk, which begins within an episode; the first has been lost.
  TestWriter writer(table.get(), 1, {.rows = kItemRows, .stride = 1}, 2);
  v1::ChunkHeader chunk;
  chunk.set_sequence(2);
  v1::Segment& segment = *chunk.add_segments();
  segment.set_lane(1);
  segment.set_first_row(100);
  segment.set_rows(10);
  v1::ItemRun& run = *chunk.add_items();
  run.set_lane(1);
  run.set_first_row(100);
  run.set_rows(kItemRows);
  run.set_count(8);
  run.set_stride(1);
  const std::string payload(10 * table->layout().payload_bytes(), '\0');
  ASSERT_TRUE(table
                  ->Insert(1, writer.opened().session, chunk, ChunkPayload(std::as_bytes(std::span(payload))),
                           {&writer, [] {}}, [] { return 0; })
                  .ok());
  EXPECT_EQ(table->State().lost_items(), kStack - 1);
  EXPECT_EQ(table->State().items(), 8 - (kStack - 1));
}

TEST(FrameStackSpecTest, RefusesContextThatDoesNotFit) {
  v1::TableSpec spec = TestSpec();
  spec.set_context_rows(spec.max_item_rows());
  EXPECT_THAT(Table::Create(spec, 0, 1).status().message(), HasSubstr("context_rows up to 255 and below"));
  spec.set_max_item_rows(1000);
  spec.set_context_rows(256);
  EXPECT_THAT(Table::Create(spec, 0, 1).status().message(), HasSubstr("context_rows up to 255 and below"));
}

}  // namespace
}  // namespace headrace
