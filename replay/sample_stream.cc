#include "replay/sample_stream.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_format.h"
#include "common/byte_buffer.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "grpcpp/alarm.h"
#include "replay/sample_plan.h"
#include "replay/wire.h"

namespace headrace {
namespace {

constexpr size_t kMessageBytes = 1 << 20;
constexpr std::chrono::milliseconds kLookAgain{20};

class SampleStream final : public ServerStream {
 public:
  explicit SampleStream(Shard* shard) : shard_(shard) {}

 private:
  void OnMessage(const grpc::ByteBuffer& message) override {
    absl::Status status = FromByteBuffer(message, request_);
    if (status.ok() && request_.has_open()) status = Open(request_.open());
    if (status.ok() && table_ == nullptr)
      status = absl::InvalidArgumentError("expected SampleOpen in a stream's first message");
    if (!status.ok()) {
      LogWarning("sampler %s refused: %s", peer_, status.ToString());
      Close(status);
      return;
    }
    if (request_.batch_size() == 0) {  // only opened
      ReadNext();
      return;
    }
    deadline_ = std::chrono::system_clock::now() + std::chrono::milliseconds(request_.timeout_ms());
    Process();
  }

  absl::Status Open(const v1::SampleOpen& open) {
    peer_ = open.peer().name();
    RETURN_IF_ERROR(shard_->CheckPeer(open.peer()));
    ASSIGN_OR_RETURN(Table * table, shard_->FindTable(open.table()));
    ASSIGN_OR_RETURN(plan_, PlanSample(open, *table));
    pad_ = open.pad();
    without_replacement_ = open.without_replacement();
    table_ = table;
    return absl::OkStatus();
  }

  // Also called again, on another thread, when a request that had to wait may be tried again.
  void Process() {
    const size_t most = std::min<size_t>(kMaxBatchSize, kMaxBatchBytes / plan_.item_bytes);
    if (request_.batch_size() > most) {
      Refuse(absl::InvalidArgumentError(absl::StrFormat("expected batches of up to %d items of %d bytes, got %d", most,
                                                        plan_.item_bytes, request_.batch_size())));
      return;
    }
    const uint64_t attempt = BeginAttempt();
    const size_t bytes = request_.batch_size() * plan_.item_bytes;
    if (!TakeRoom(bytes)) return LookAgain(attempt);
    const absl::Cleanup give_room_back = [&] { GiveRoomBack(bytes); };
    Table::Batch batch;
    std::weak_ptr<ServerStream> weak = weak_from_this();
    const absl::StatusOr<Table::Outcome> outcome =
        table_->Sample({.batch_size = request_.batch_size(),
                        .rows_needed = pad_ ? 1 : plan_.rows_needed,
                        .random_key = request_.random_key(),
                        .distinct = without_replacement_},
                       batch, {this, [this, weak, attempt] {
                                 if (const auto alive = weak.lock(); alive != nullptr && ClaimAttempt(attempt))
                                   Process();
                               }});
    if (!outcome.ok()) {
      Refuse(outcome.status());
    } else if (*outcome == Table::Outcome::kWait) {
      WaitUntilDeadline(attempt);
    } else {
      Answer(batch);
      Proceed();
    }
  }

  void WaitUntilDeadline(uint64_t attempt) {
    WakeAt(std::chrono::system_clock::time_point::max(), attempt, [this] {
      const v1::TableState state = table_->State();
      Refuse(absl::DeadlineExceededError(absl::StrFormat(
          "table \"%s\" has %d items%s, too few for a batch of %d%s (min_items %d)", state.table(), state.items(),
          state.drawable_items() == state.items()
              ? ""
              : absl::StrFormat(", %d of priority 0", state.items() - state.drawable_items()),
          request_.batch_size(), without_replacement_ ? " without replacement" : "", table_->spec().min_items())));
    });
  }

  // Nobody tells when other streams have been read.
  void LookAgain(uint64_t attempt) {
    WakeAt(std::chrono::system_clock::now() + kLookAgain, attempt, [this] {
      if (std::chrono::system_clock::now() < deadline_) return Process();
      Refuse(
          absl::UnavailableError("what was sent before, to this host or to all, has not been read: there is no room"));
    });
  }

  // Or at the deadline, if that is sooner; not if the attempt has gone on by then.
  void WakeAt(std::chrono::system_clock::time_point time, uint64_t attempt, std::function<void()> wake) {
    std::weak_ptr<ServerStream> weak = weak_from_this();
    auto alarm = std::make_shared<grpc::Alarm>();
    {
      MutexLock lock(&mutex_);
      if (attempt_ != attempt) return;  // tried again already
      alarm_ = alarm;
      time = std::min(time, deadline_);  // from here on it may be the next request's
    }
    alarm->Set(time, [this, weak, attempt, wake = std::move(wake)](bool expired) {
      if (!expired) return;
      if (const auto alive = weak.lock(); alive != nullptr && ClaimAttempt(attempt)) wake();
    });
  }

  // The table and the timer may both want to continue a waiting request: the first one does.
  uint64_t BeginAttempt() {
    MutexLock lock(&mutex_);
    return attempt_;
  }
  bool ClaimAttempt(uint64_t attempt) {
    MutexLock lock(&mutex_);
    if (attempt_ != attempt) return false;
    ++attempt_;
    return true;
  }

  void Answer(const Table::Batch& batch) {
    const std::vector<ItemStore::Drawn>& items = batch.items();
    messages_ = 0;
    const size_t items_per_message = std::max<size_t>(1, kMessageBytes / plan_.item_bytes);
    std::vector<FrameSpec> frames(plan_.slices.size());
    for (size_t first = 0; first < items.size(); first += items_per_message) {
      const size_t count = std::min(items_per_message, items.size() - first);
      v1::SampleResponse head;
      head.set_request(request_.request());
      if (first + count == items.size()) {
        head.set_last(true);
        *head.mutable_state() = batch.state();
        for (const ItemStore::Drawn& item : items) head.add_keys(item.key);
        if (std::any_of(items.begin(), items.end(), [&](const auto& item) { return item.rows < plan_.rows_needed; })) {
          for (const ItemStore::Drawn& item : items) head.add_rows(std::min<uint32_t>(item.rows, plan_.rows_needed));
        }
        if (table_->spec().sampler() == v1::PROPORTIONAL) {
          for (const ItemStore::Drawn& item : items) head.add_probabilities(static_cast<float>(item.probability));
        }
      }
      for (uint32_t s = 0; s < plan_.slices.size(); ++s) {
        const std::span<const ItemStore::Drawn> of_message(items.data() + first, count);
        const RowLayout::ColumnLayout& column = table_->layout().columns()[plan_.slices[s].column];
        frames[s] = {.slice = s,
                     .offset = first * BytesPerItem(plan_.slices[s], table_->layout()),
                     .bytes = table_->GatheredBytes(of_message, plan_.slices[s])};
        if (column.compressed) {
          frames[s].cells = static_cast<uint32_t>(count * plan_.slices[s].cells());
          frames[s].cell_bytes = static_cast<uint32_t>(column.bytes);
        }
      }
      const SampleMessage message = BeginSampleResponse(head, frames);
      table_->Gather({items.data() + first, count}, plan_.slices, message.payloads);
      Send(grpc::ByteBuffer(&message.message, 1));
      ++messages_;
    }
  }

  void Refuse(const absl::Status& status) {
    v1::SampleResponse response;
    response.set_request(request_.request());
    response.set_status_code(static_cast<uint32_t>(status.code()));
    response.set_status_message(std::string(status.message()));
    response.set_last(true);
    *response.mutable_state() = table_->State();
    Send(ToByteBuffer(response));
    messages_ = 1;
    Proceed();
  }

  // Reads the next request when no more than the newest answer is still to be sent: the next one is gathered meanwhile.
  void Proceed() {
    {
      MutexLock lock(&mutex_);
      ++attempt_;
      alarm_.reset();
      newest_answer_ = messages_;
      reading_ = unsent() <= newest_answer_;
      if (!reading_) return;
    }
    ReadNext();
  }

  void OnSent() override {
    {
      MutexLock lock(&mutex_);
      if (reading_ || unsent() > newest_answer_) return;
      reading_ = true;
    }
    ReadNext();
  }

  void OnClosed() override {
    if (table_ != nullptr) table_->StopWaiting(this);
  }

  Shard* const shard_;
  // Of the request being processed.
  v1::SampleRequest request_;
  std::chrono::system_clock::time_point deadline_;
  size_t messages_ = 0;  // of its answer

  // Set by the opening request.
  std::string peer_ = "(not yet known)";
  Table* table_ = nullptr;
  SamplePlan plan_;
  bool pad_ = false;
  bool without_replacement_ = false;

  Mutex mutex_;  // taken before ServerStream's own
  uint64_t attempt_ ABSL_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mutex_);
  bool reading_ ABSL_GUARDED_BY(mutex_) = true;
  size_t newest_answer_ ABSL_GUARDED_BY(mutex_) = 0;  // messages
};

}  // namespace

std::shared_ptr<ServerStream> MakeSampleStream(Shard* shard) { return std::make_shared<SampleStream>(shard); }

}  // namespace headrace
