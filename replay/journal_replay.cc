#include "replay/journal_replay.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/file.h"
#include "common/grpc_server.h"
#include "common/log.h"
#include "common/protocol.h"
#include "common/status_macros.h"
#include "replay/journal.h"
#include "replay/journal_format.h"
#include "replay/payload.h"
#include "replay/wire.h"

namespace headrace {
namespace {

constexpr uint64_t kMostHashedBytes = uint64_t{4} << 30;  // a second or so

// Reads a file's entries until one is not whole.
class EntryReader {
 public:
  static absl::StatusOr<EntryReader> Open(const std::string& path) {
    std::error_code error;
    const uint64_t bytes = std::filesystem::file_size(path, error);
    FILE* const file = fopen(path.c_str(), "rbe");
    if (file == nullptr || error) return ErrnoStatus("open", path);
    EntryReader reader(file, bytes);
    std::string magic(kJournalMagic.size(), '\0');
    if (bytes >= magic.size() && reader.Read(magic) && magic != kJournalMagic) {
      return absl::DataLossError(absl::StrCat(
          path, " does not begin as the journal of a replay shard does: remove it, and lose what it held"));
    }
    if (bytes >= magic.size()) reader.good_ = reader.left_;
    return reader;
  }

  // False: there is none that is whole.
  bool Next(v1::JournalEntry& entry) {
    JournalEntryHead head;
    std::string bytes(sizeof(head), '\0');
    if (left_ < sizeof(head) || !Read(bytes)) return false;
    std::memcpy(&head, bytes.data(), sizeof(head));
    if (head.bytes > left_) return false;
    bytes.resize(head.bytes);
    if (!Read(bytes) || Checksum(bytes) != head.xxh3 || !entry.ParseFromString(bytes)) return false;
    good_ = left_;
    return true;
  }
  // Behind the last entry that was whole.
  uint64_t damaged_bytes() const { return good_; }
  // Whether there is a whole entry among these: a crash leaves none behind one that it has cut off, or only such as
  // were written with that one and not acknowledged either; a disk that has gone bad may. Also if it would take too
  // long to find out, for many bytes may look like the head of an entry.
  bool HasEntriesBehindDamage() {
    // The next one is no farther than the largest message.
    std::string rest(std::min<uint64_t>(good_, 2 * kMaxMessageBytes), '\0');
    if (fseek(file_.get(), -static_cast<long>(good_), SEEK_END) != 0) return false;
    rest.resize(fread(rest.data(), 1, rest.size(), file_.get()));
    uint64_t hashed = 0;
    for (size_t at = 1; at + sizeof(JournalEntryHead) < rest.size(); ++at) {
      JournalEntryHead head;
      std::memcpy(&head, rest.data() + at, sizeof(head));
      const size_t left = rest.size() - at - sizeof(head);
      if (head.bytes == 0 || head.bytes > left) continue;
      const std::string_view body(rest.data() + at + sizeof(head), static_cast<size_t>(head.bytes));
      if ((hashed += body.size()) > kMostHashedBytes || Checksum(body) == head.xxh3) return true;
    }
    return false;
  }

 private:
  EntryReader(FILE* file, uint64_t bytes) : file_(file, &fclose), left_(bytes), good_(bytes) {}

  bool Read(std::string& bytes) {
    if (fread(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size()) return false;
    left_ -= bytes.size();
    return true;
  }

  std::unique_ptr<FILE, int (*)(FILE*)> file_;
  uint64_t left_;
  uint64_t good_;  // bytes left behind the last whole entry
};

struct ReadRequest {
  v1::InsertRequest head;
  std::span<const std::byte> payload;  // in the entry
};

absl::StatusOr<ReadRequest> ReadRequestOf(const v1::JournalEntry& entry) {
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(entry.request().data()),
                                            static_cast<int>(entry.request().size()));
  ReadRequest request;
  size_t payload_bytes;
  RETURN_IF_ERROR(ReadInsertRequest(in, entry.request().size(), request.head, payload_bytes));
  const auto rest = std::as_bytes(std::span(entry.request())).subspan(static_cast<size_t>(in.CurrentPosition()));
  if (payload_bytes > rest.size()) return absl::DataLossError("a chunk's payload is cut off");
  request.payload = rest.first(payload_bytes);
  return request;
}

// Writers of the life that ended, each as if it came for its chunk and left: of writers that stay, the rows of episodes
// that go on are kept, and of all that there ever were they could be more than the table holds.
class Inserter {
 public:
  explicit Inserter(Shard& shard) : shard_(shard) { SetLimited(false); }
  ~Inserter() { SetLimited(true); }

  absl::Status Take(const v1::JournalEntry& entry) {
    if (entry.has_create()) {
      if (shard_.FindTable(entry.create().name()).ok()) return absl::OkStatus();
      RETURN_IF_ERROR(shard_.CreateTable(MakePeer(entry.run_id(), "the journal"), entry.create()).status());
      SetLimited(false);
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(Table * table, shard_.FindTableWithRows(entry.table()));
    ASSIGN_OR_RETURN(const ReadRequest request, ReadRequestOf(entry));
    const v1::ChunkHeader& chunk = request.head.chunk();
    const uint64_t steps = table->State().inserted_steps();
    const uint64_t session = table->OpenWriter(entry.writer(), chunk.sequence()).session;
    const absl::StatusOr<Table::Outcome> outcome =
        table->Insert(entry.writer(), session, chunk, ChunkPayload(request.payload), {this, [] {}}, [] { return 0; });
    table->CloseWriter(entry.writer(), session);
    RETURN_IF_ERROR(outcome.status());
    if (*outcome != Table::Outcome::kDone) return absl::InternalError("a chunk of the journal had to wait");
    steps_ += table->State().inserted_steps() - steps;
    return absl::OkStatus();
  }

  uint64_t steps() const { return steps_; }

 private:
  void SetLimited(bool limited) {
    for (Table* const table : shard_.Tables()) table->SetLimited(limited);
  }

  Shard& shard_;
  uint64_t steps_ = 0;
};

}  // namespace

absl::StatusOr<uint64_t> ReplayJournal(const std::string& directory, uint64_t first, Shard& shard,
                                       absl::FunctionRef<bool()> interrupted) {
  Inserter inserter(shard);
  for (const uint64_t number : Journal::Files(directory)) {
    if (number < first) continue;
    const std::string path = Journal::Path(directory, number);
    ASSIGN_OR_RETURN(EntryReader reader, EntryReader::Open(path));
    v1::JournalEntry entry;
    while (reader.Next(entry)) {
      if (interrupted()) return absl::CancelledError("interrupted while the journal was restored");
      const absl::Status taken = inserter.Take(entry);
      // Not damage: with what the table needs, everything is still there.
      if (!taken.ok() && entry.has_create() && absl::IsFailedPrecondition(taken)) {
        return absl::FailedPreconditionError(
            absl::StrCat(path, ": ", taken.message(),
                         ": start with what it had, or remove the journal's files, and lose what they hold"));
      }
      if (!taken.ok()) {
        LogError("an entry of %s is passed over: %s", path, taken.ToString());
      }
    }
    if (reader.damaged_bytes() > 0 && reader.HasEntriesBehindDamage()) {
      LogError(
          "%s is damaged in its middle: %d bytes from there on are dropped, and with them steps that may have been "
          "acknowledged",
          path, reader.damaged_bytes());
    } else if (reader.damaged_bytes() > 0) {
      LogWarning("%s ends in the middle of an entry, or with a damaged one: its last %d bytes are dropped", path,
                 reader.damaged_bytes());
    }
  }
  return inserter.steps();
}

absl::StatusOr<uint64_t> CountChunksAfter(const std::string& directory, uint64_t first,
                                          const google::protobuf::RepeatedPtrField<v1::WriterCheckpoint>& writers) {
  std::map<std::pair<std::string, uint64_t>, uint64_t> last_sequences;
  for (const v1::WriterCheckpoint& writer : writers) {
    last_sequences[{writer.table(), writer.writer()}] = writer.last_sequence();
  }
  uint64_t chunks = 0;
  for (const uint64_t number : Journal::Files(directory)) {
    if (number < first) continue;
    ASSIGN_OR_RETURN(EntryReader reader, EntryReader::Open(Journal::Path(directory, number)));
    v1::JournalEntry entry;
    while (reader.Next(entry)) {
      if (entry.has_create()) continue;
      ASSIGN_OR_RETURN(const ReadRequest request, ReadRequestOf(entry));
      if (request.head.chunk().sequence() > last_sequences[{entry.table(), entry.writer()}]) ++chunks;
    }
  }
  return chunks;
}

}  // namespace headrace
