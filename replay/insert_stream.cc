#include "replay/insert_stream.h"

#include <algorithm>
#include <deque>
#include <span>
#include <vector>

#include "absl/strings/str_format.h"
#include "common/byte_buffer.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "grpcpp/support/proto_buffer_reader.h"
#include "replay/payload.h"
#include "replay/wire.h"

namespace headrace {
namespace {

// Of a stream's chunks that are not on disk yet: with more no message is read, whatever window its writer keeps.
constexpr size_t kMostUndurableBytes = kMaxMessageBytes;

constexpr uint64_t kMaxSequence = uint64_t{1} << 62;

// What lies at bytes `offset` and up of a message, which the slices hold.
std::vector<ChunkPayload::Piece> PiecesOf(const std::vector<grpc::Slice>& slices, size_t offset, size_t bytes) {
  std::vector<ChunkPayload::Piece> pieces;
  for (const grpc::Slice& slice : slices) {
    const ChunkPayload::Piece whole(reinterpret_cast<const std::byte*>(slice.begin()), slice.size());
    const ChunkPayload::Piece piece = whole.subspan(std::min(offset, whole.size()));
    offset -= whole.size() - piece.size();
    pieces.push_back(piece.first(std::min(bytes, piece.size())));
    bytes -= pieces.back().size();
  }
  return pieces;
}

class InsertStream final : public ServerStream {
 public:
  explicit InsertStream(Shard* shard) : shard_(shard) {}

 private:
  void OnMessage(const grpc::ByteBuffer& message) override {
    message_ = &message;
    Process();
  }

  // Also called again, on another thread, when a chunk that had to wait may be tried again; nothing else happens on
  // this stream in between, because no further message is read.
  void Process() {
    absl::StatusOr<Table::Outcome> outcome = table_ == nullptr ? Open() : InsertChunk();
    if (!outcome.ok()) {
      LogWarning("writer %s refused: %s", peer_, outcome.status().ToString());
      Close(outcome.status());
    } else if (*outcome == Table::Outcome::kDone) {
      AcknowledgeWhenDrained();
      ReadNextIfThereIsRoom();
    }
  }

  // Otherwise the journal's thread comes back to it (BecomeDurable).
  void ReadNextIfThereIsRoom() {
    MutexLock lock(&mutex_);
    paused_ = undurable_bytes_ > kMostUndurableBytes;
    if (!paused_) ReadNext();
  }

  absl::StatusOr<Table::Outcome> Open() {
    grpc::ProtoBufferReader reader(const_cast<grpc::ByteBuffer*>(message_));
    google::protobuf::io::CodedInputStream in(&reader);
    size_t payload_bytes;
    RETURN_IF_ERROR(ReadInsertRequest(in, message_->Length(), head_, payload_bytes));
    if (!head_.has_open()) return absl::InvalidArgumentError("expected InsertOpen as a stream's first message");
    const v1::InsertOpen& open = head_.open();
    peer_ = open.peer().name();
    RETURN_IF_ERROR(shard_->CheckPeer(open.peer()));
    ASSIGN_OR_RETURN(Table * table, shard_->FindTableWithRows(open.table()));
    RETURN_IF_ERROR(CheckSameSignature(table->spec().signature(), open.signature()));
    writer_ = open.writer();
    if (open.first_sequence() > kMaxSequence) {
      return absl::InvalidArgumentError(
          absl::StrFormat("expected a first_sequence up to 2^62, got %d", open.first_sequence()));
    }
    const Table::OpenedWriter opened = table->OpenWriter(writer_, open.first_sequence());
    session_ = opened.session;
    table_ = table;
    Committed(opened.last_sequence, 0);
    return Table::Outcome::kDone;
  }

  absl::StatusOr<Table::Outcome> InsertChunk() {
    // A reference of our own: a chunk that has to wait may be inserted by another thread, and the next message read
    // into *message_, before the reader here is gone.
    grpc::ByteBuffer message(*message_);
    grpc::ProtoBufferReader reader(&message);
    google::protobuf::io::CodedInputStream in(&reader);
    size_t payload_bytes;
    RETURN_IF_ERROR(ReadInsertRequest(in, message.Length(), head_, payload_bytes));
    if (!head_.has_chunk()) return absl::InvalidArgumentError("expected a chunk, got none");
    // Before the table makes room for it.
    const size_t left = message.Length() - static_cast<size_t>(in.CurrentPosition());
    if (payload_bytes > left) {
      return absl::InvalidArgumentError(
          absl::StrFormat("expected a payload of %d bytes, as the message says, got %d", payload_bytes, left));
    }
    std::weak_ptr<ServerStream> weak = weak_from_this();
    const auto again = [this, weak] {
      if (const auto alive = weak.lock()) Process();
    };
    const auto journal = [&]() -> uint64_t {
      if (shard_->journal() == nullptr) return 0;
      return shard_->journal()->AddChunk(table_->spec().name(), writer_, message);
    };
    std::vector<grpc::Slice> slices;
    if (!message.Dump(&slices).ok()) return absl::InternalError("a message cannot be read");
    const ChunkPayload payload(PiecesOf(slices, static_cast<size_t>(in.CurrentPosition()), payload_bytes));
    ASSIGN_OR_RETURN(const Table::Outcome outcome,
                     table_->Insert(writer_, session_, head_.chunk(), payload, {this, again}, journal));
    if (outcome == Table::Outcome::kDone) Committed(head_.chunk().sequence(), message.Length());
    return outcome;
  }

  // Also of a chunk that had been committed before, perhaps a moment ago on another stream: what the journal has been
  // given by now includes it.
  void Committed(uint64_t sequence, size_t bytes) {
    const uint64_t journaled = shard_->journal() != nullptr ? shard_->journal()->added() : 0;
    MutexLock lock(&mutex_);
    not_durable_.push_back({sequence, journaled, bytes});
    undurable_bytes_ += bytes;
  }

  // Moves committed_ on to what is on disk, where there is a journal, and sees to it that the rest is come back to.
  // False: nothing may be answered yet.
  bool BecomeDurable() {
    std::weak_ptr<ServerStream> weak = weak_from_this();
    const auto again = [this, weak] {
      if (const auto alive = weak.lock()) AcknowledgeWhenDrained();
    };
    Journal* const journal = shard_->journal();
    MutexLock lock(&mutex_);
    bool some = false;
    do {
      const uint64_t durable = journal != nullptr ? journal->durable() : 0;
      for (; !not_durable_.empty() && not_durable_.front().journaled <= durable; not_durable_.pop_front()) {
        committed_ = std::max(committed_, not_durable_.front().sequence);
        undurable_bytes_ -= not_durable_.front().bytes;
        some = true;
      }
    } while (!not_durable_.empty() && journal->WaitDurable(not_durable_.front().journaled, {this, again}));
    if (paused_ && undurable_bytes_ <= kMostUndurableBytes) {
      paused_ = false;
      ReadNext();
    }
    return some || opened_;
  }

  // One answer for all chunks that were committed while the last one was on its way. What it acknowledges is read
  // before the table is asked: a chunk that comes after that is not acknowledged by an answer that did not ask for it.
  void AcknowledgeWhenDrained() {
    std::weak_ptr<ServerStream> weak = weak_from_this();
    if (unsent() > 0) return;  // OnSent comes back to it
    if (!BecomeDurable()) return;
    const auto [committed, opened] = CommittedUntilNow();
    if (opened && table_->Acknowledge({this, [this, weak] {
                                         if (const auto alive = weak.lock()) AcknowledgeWhenDrained();
                                       }}) == Table::Outcome::kWait) {
      return;
    }
    // Sent under the mutex, so that a later answer never overtakes an earlier one.
    MutexLock lock(&mutex_);
    if (!opened_ || committed > acknowledged_) SendAcknowledgement(committed);
    if (ended_ && not_durable_.empty() && committed == committed_) Close(absl::OkStatus());
  }

  struct CommittedChunks {
    uint64_t last_sequence;
    bool opened;
  };
  CommittedChunks CommittedUntilNow() {
    MutexLock lock(&mutex_);
    return {committed_, opened_};
  }

  void SendAcknowledgement(uint64_t committed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    opened_ = true;
    acknowledged_ = committed;
    v1::InsertResponse response;
    response.set_acknowledged(committed);
    response.set_policy_version(table_->policy_version());
    response.set_shard(shard_->number());
    response.set_incarnation(shard_->incarnation());
    response.set_room(table_->StepsToLimit());
    Send(ToByteBuffer(response));
  }

  void OnSent() override { AcknowledgeWhenDrained(); }

  // The writer sends nothing more, but still wants to hear of what it has sent.
  void OnEnd() override {
    if (table_ == nullptr) return ServerStream::OnEnd();
    {
      MutexLock lock(&mutex_);
      ended_ = true;
    }
    AcknowledgeWhenDrained();
  }

  void OnClosed() override {
    if (table_ == nullptr) return;
    // First: a chunk that is being tried again at this moment is refused then, and waits for nothing.
    table_->CloseWriter(writer_, session_);
    table_->StopWaiting(this);
    if (shard_->journal() != nullptr) shard_->journal()->StopWaiting(this);
  }

  Shard* const shard_;
  // Of the message being processed.
  const grpc::ByteBuffer* message_ = nullptr;
  v1::InsertRequest head_;

  // Set by the first message.
  std::string peer_ = "(not yet known)";
  Table* table_ = nullptr;
  uint64_t writer_ = 0;
  uint64_t session_ = 0;

  Mutex mutex_;  // taken before ServerStream's own
  struct NotDurable {
    uint64_t sequence;
    uint64_t journaled;  // entries of the journal that must be on disk
    size_t bytes;
  };
  std::deque<NotDurable> not_durable_ ABSL_GUARDED_BY(mutex_);
  size_t undurable_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool paused_ ABSL_GUARDED_BY(mutex_) = false;     // no message is read
  uint64_t committed_ ABSL_GUARDED_BY(mutex_) = 0;  // and on disk, where there is a journal
  uint64_t acknowledged_ ABSL_GUARDED_BY(mutex_) = 0;
  bool opened_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

std::shared_ptr<ServerStream> MakeInsertStream(Shard* shard) { return std::make_shared<InsertStream>(shard); }

}  // namespace headrace
