#include "replay/priority_stream.h"

#include <span>
#include <string>

#include "common/byte_buffer.h"
#include "common/log.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

template <typename T>
std::span<const T> SpanOf(const google::protobuf::RepeatedField<T>& values) {
  return {values.data(), static_cast<size_t>(values.size())};
}

class PriorityStream final : public ServerStream {
 public:
  explicit PriorityStream(Shard* shard) : shard_(shard) {}

 private:
  void OnMessage(const grpc::ByteBuffer& message) override {
    if (absl::Status status = Process(message); !status.ok()) {
      LogWarning("priorities of %s refused: %s", peer_, status.ToString());
      Close(status);
      return;
    }
    AnswerWhenDrained();
    ReadNext();
  }

  absl::Status Process(const grpc::ByteBuffer& message) {
    RETURN_IF_ERROR(FromByteBuffer(message, request_));
    if (table_ == nullptr) {
      peer_ = request_.peer().name();
      RETURN_IF_ERROR(shard_->CheckPeer(request_.peer()));
      ASSIGN_OR_RETURN(table_, shard_->FindTable(request_.table()));
    }
    ASSIGN_OR_RETURN(
        const Table::PriorityUpdate update,
        table_->UpdatePriorities(request_.incarnation(), SpanOf(request_.keys()), SpanOf(request_.priorities())));
    MutexLock lock(&mutex_);
    totals_.set_messages(totals_.messages() + 1);
    totals_.set_updated(totals_.updated() + update.updated);
    totals_.set_unknown(totals_.unknown() + update.unknown);
    return absl::OkStatus();
  }

  // One answer for all messages that came while the last one was on its way.
  void AnswerWhenDrained() {
    // Sent under the mutex, so that a later answer never overtakes an earlier one.
    MutexLock lock(&mutex_);
    if (unsent() > 0) return;  // OnSent comes back to it
    if (totals_.messages() != answered_) {
      answered_ = totals_.messages();
      Send(ToByteBuffer(totals_));
    }
    if (ended_) Close(absl::OkStatus());
  }

  void OnSent() override { AnswerWhenDrained(); }

  // The client sends nothing more, but still wants the answer to what it has sent.
  void OnEnd() override {
    {
      MutexLock lock(&mutex_);
      ended_ = true;
    }
    AnswerWhenDrained();
  }

  Shard* const shard_;
  v1::UpdatePrioritiesRequest request_;  // being processed
  // Set by the first message.
  std::string peer_ = "(not yet known)";
  Table* table_ = nullptr;

  Mutex mutex_;  // taken before ServerStream's own
  v1::UpdatePrioritiesResponse totals_ ABSL_GUARDED_BY(mutex_);
  uint64_t answered_ ABSL_GUARDED_BY(mutex_) = 0;  // messages
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

std::shared_ptr<ServerStream> MakePriorityStream(Shard* shard) { return std::make_shared<PriorityStream>(shard); }

}  // namespace headrace
