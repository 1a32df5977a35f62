// A shard's checkpoint files: their form (docs/formats/replay.md), reading them, and which there are.
//
// Not thread-safe.
#ifndef HEADRACE_REPLAY_CHECKPOINT_FILE_H_
#define HEADRACE_REPLAY_CHECKPOINT_FILE_H_

#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/checksum.h"
#include "proto/checkpoint.pb.h"
#include "replay/item_store.h"

namespace headrace {

inline constexpr std::string_view kCheckpointMagic = "HEADRACE REPLAY\n";
inline constexpr uint32_t kCheckpointFormat = 6;
inline constexpr uint32_t kNewestFormatWithHeaderFirst = 5;
inline constexpr uint32_t kOldestCheckpointFormat = 1;  // that is still read
// In place of the header's length where the header comes after the tables.
inline constexpr uint64_t kHeaderIsLast = 0;

struct ItemRecord {
  uint32_t first_row;  // number of the row in this file
  uint16_t rows;
  uint16_t times_sampled;
  float priority = 1;    // from format 2 on
  uint32_t context = 0;  // from format 3 on
};
static_assert(sizeof(ItemRecord) == 16);
constexpr size_t ItemBytes(uint32_t format) { return format == 1 ? 8 : format == 2 ? 12 : sizeof(ItemRecord); }

struct CheckpointEntry {
  std::string path;
  std::string name;
  absl::Status readable;  // whether its header is
  uint64_t number;        // in its header; 0: it has none
  uint64_t journal_file;
};

std::string CheckpointPath(const std::string& directory, const std::string& name);
// Newest first.
std::vector<CheckpointEntry> ListCheckpoints(const std::string& directory);
// What a life that ended while it wrote has left may be large, and nobody reads it.
void RemoveUnfinishedCheckpoints(const std::string& directory);

// Reads a file from its start to its end, so that none of it has to be held but what is wanted.
class CheckpointReader {
 public:
  // DataLoss: it is too short.
  static absl::StatusOr<std::unique_ptr<CheckpointReader>> Open(const std::string& path);

  // The first call. What comes next are the tables, wherever the header is.
  absl::StatusOr<v1::ReplayCheckpointHeader> ReadHeader();
  // Fills the piece with the bytes that come next. DataLoss: there are fewer.
  absl::Status Read(std::span<std::byte> piece);
  uint64_t position() const { return position_; }  // in the file
  uint64_t bytes_left() const { return end_ - position_; }
  // The last call. DataLoss: more follows, or the checksum does not fit what was read.
  absl::Status Finish();

 private:
  CheckpointReader(FILE* file, uint64_t end) : file_(file, &fclose), end_(end) {}

  // The same for what is not, or not yet, part of the checksum.
  absl::Status ReadUnchecked(std::span<std::byte> piece);
  absl::StatusOr<std::string> ReadText(uint64_t bytes);
  absl::Status GoTo(uint64_t position);
  // The header, which is before the checksum. Reading goes on where it was, and ends before the header.
  absl::StatusOr<std::string> TakeTrailer();

  const std::unique_ptr<FILE, int (*)(FILE*)> file_;
  uint64_t position_ = 0;
  uint64_t end_;         // of the tables; before the header is read, of all that the checksum is of
  std::string trailer_;  // what is between the end of the tables and the checksum
  Checksummer checksum_;
};

// A table's items, which follow its rows. Their first_row is a number of a row in the file.
absl::StatusOr<std::vector<Item>> ReadItems(uint32_t format, const v1::TableCheckpoint& saved, CheckpointReader& file);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_CHECKPOINT_FILE_H_
