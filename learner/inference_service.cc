#include "learner/inference_service.h"

#include <algorithm>
#include <array>
#include <exception>
#include <span>
#include <utility>

#include "ATen/Parallel.h"
#include "ATen/ops/from_blob.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/act_wire.h"
#include "common/byte_buffer.h"
#include "common/log.h"
#include "common/protocol.h"
#include "common/seconds.h"
#include "common/server_stream.h"
#include "common/status_macros.h"
#include "grpcpp/support/proto_buffer_reader.h"
#include "model/weights.h"

namespace headrace {
namespace {

using Clock = InferenceBatcher::Clock;

uint32_t Microseconds(Clock::duration duration) {
  return static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::microseconds>(duration).count());
}

std::string Describe(const v1::Column& column) {
  return absl::StrCat(v1::DataType_Name(column.data_type()), " [", absl::StrJoin(column.shape(), ", "), "]");
}

// A learner that starts again must not explore with the same numbers again.
RandomStream ExplorationStream(uint64_t seed, uint32_t incarnation, uint32_t thread) {
  const std::array<uint32_t, 4> block =
      Philox4x32({incarnation, 0, 0, 0}, {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return {block[0] | uint64_t{block[1]} << 32, StreamRole::kLearner, thread, StreamPurpose::kExploration};
}

// Bytes of the rows of one request, of a tensor with as many as the batch.
std::string RowsOf(const at::Tensor& tensor, size_t batch_rows, const InferenceRequest& request) {
  if (!tensor.defined() || tensor.numel() == 0) return "";
  const size_t row_bytes = tensor.nbytes() / batch_rows;
  const auto* const bytes = static_cast<const char*>(tensor.const_data_ptr());
  return {bytes + request.first_row * row_bytes, request.rows * row_bytes};
}

}  // namespace

class InferenceService::Stream final : public ServerStream, public InferenceClient, public GatedActor {
 public:
  explicit Stream(InferenceService* service) : service_(service) {}

  void Answer(const v1::ActResponse& response, Clock::time_point computed) override {
    computed_ = computed.time_since_epoch().count();
    Send(ToByteBuffer(response));
    ReadNext();
  }

  void GoOn() override { Process(*message_); }

 private:
  void OnMessage(const grpc::ByteBuffer& message) override {
    message_ = &message;  // before it may have to go on
    const ActorGate::Admission admission = lanes_ == 0 ? ActorGate::Admission::kGranted : service_->gate_->Admit(this);
    if (admission == ActorGate::Admission::kGranted) Process(message);
    if (admission == ActorGate::Admission::kTell) TellHeldBack(message);
  }

  void TellHeldBack(const grpc::ByteBuffer& message) {
    v1::ActRequest request;
    if (!FromByteBuffer(message, request).ok() || request.request() == 0) return Process(message);  // is refused
    v1::ActResponse response;
    response.set_request(request.request());
    response.set_status_code(static_cast<uint32_t>(kHeldBack));
    response.set_status_message("held back by the autotuner: ask again and wait");
    Send(ToByteBuffer(response));
    ReadNext();
  }

  void Process(const grpc::ByteBuffer& message) {
    const Clock::time_point arrived = Clock::now();
    InferenceBatcher::Place place{};
    const absl::Status status = Read(message, arrived, place);
    if (status.ok()) {
      // The last of all: the answer may be on its way now, and the message be overwritten by the next one.
      place.batch == nullptr ? ReadNext() : service_->batcher_->Filled(place);
      return;
    }
    LogWarning("inference for %s refused: %s", peer_, status.ToString());
    if (!absl::IsUnavailable(status)) service_->metrics_.refused.Increment();
    Close(status);
  }

  // Fills a place in a batch, or opens the stream.
  absl::Status Read(const grpc::ByteBuffer& message, Clock::time_point arrived, InferenceBatcher::Place& place) {
    grpc::ProtoBufferReader reader(const_cast<grpc::ByteBuffer*>(&message));
    google::protobuf::io::CodedInputStream in(&reader);
    v1::ActRequest head;
    size_t bytes;
    RETURN_IF_ERROR(ReadActRequest(in, message.Length(), head, bytes));
    if (lanes_ == 0) return Open(head);
    if (head.has_open() || head.request() == 0) {
      return absl::InvalidArgumentError(
          "expected a request with a number, got none, or an ActOpen for the second time");
    }
    if (bytes != lanes_ * service_->row_bytes_) {
      return absl::InvalidArgumentError(
          absl::StrFormat("expected observations of %d bytes (%d environments, %s), got %d",
                          lanes_ * service_->row_bytes_, lanes_, Describe(service_->observation_), bytes));
    }
    const size_t state_bytes = lanes_ * static_cast<size_t>(service_->state_size_) * sizeof(float);
    if (head.recurrent_state().size() != state_bytes) {
      return absl::InvalidArgumentError(
          absl::StrFormat("expected recurrent state of %d bytes (%d environments, FLOAT32 [%d]), got %d", state_bytes,
                          lanes_, service_->state_size_, head.recurrent_state().size()));
    }
    place = service_->batcher_->Reserve({.client = std::shared_ptr<InferenceClient>(shared_from_this(), this),
                                         .number = head.request(),
                                         .rows = lanes_,
                                         .arrived = arrived});
    // All of it is there: its length was compared with the message's.
    in.ReadRaw(place.rows, static_cast<int>(bytes));
    std::ranges::copy(std::as_bytes(std::span(head.recurrent_state())), place.states);
    return absl::OkStatus();
  }

  absl::Status Open(const v1::ActRequest& request) {
    if (!request.has_open()) return absl::InvalidArgumentError("expected ActOpen in a stream's first message");
    peer_ = request.open().peer().name();
    RETURN_IF_ERROR(service_->CheckOpen(request.open()));
    lanes_ = request.open().lanes();
    service_->gate_->Enter(std::shared_ptr<GatedActor>(shared_from_this(), this), request.open().index());
    service_->metrics_.clients.Increment();
    return absl::OkStatus();
  }

  void OnSent() override {
    const Clock::time_point computed{Clock::duration(computed_)};
    service_->metrics_.latency.reply.Observe(Seconds(Clock::now() - computed));
  }

  void OnClosed() override {
    if (lanes_ == 0) return;
    service_->gate_->Leave(this);
    service_->metrics_.clients.Decrement();
  }

  InferenceService* const service_;
  std::string peer_ = "(not yet known)";
  size_t lanes_ = 0;  // 0: not opened
  std::atomic<Clock::rep> computed_ = 0;
  const grpc::ByteBuffer* message_ = nullptr;  // the newest
};

InferenceService::InferenceService(const v1::RunConfig& config, const v1::LearnerIdentity& identity,
                                   MetricRegistry& registry)
    : config_(config.inference()), identity_(identity), seed_(config.seed()), metrics_(registry) {}

InferenceService::~InferenceService() { Stop(); }

void InferenceService::Publish(uint64_t version, std::string safetensors) {
  auto weights = std::make_shared<const Weights>(Weights{version, std::move(safetensors)});
  MutexLock lock(&mutex_);
  newest_.swap(weights);
  changed_.NotifyAll();
}

absl::Status InferenceService::Open(const v1::Column& observation, std::vector<std::unique_ptr<Policy>> policies,
                                    int64_t state_size) {
  switch (observation.data_type()) {
    case v1::FLOAT32:
      type_ = at::kFloat;
      break;
    case v1::FLOAT64:
      type_ = at::kDouble;
      break;
    case v1::UINT8:
      type_ = at::kByte;
      break;
    default:
      return absl::InvalidArgumentError(absl::StrCat("expected observations of type FLOAT32, FLOAT64 or UINT8, got ",
                                                     v1::DataType_Name(observation.data_type())));
  }
  observation_ = observation;
  row_bytes_ = at::elementSize(type_);
  for (const uint32_t size : observation.shape()) row_bytes_ *= size;
  state_size_ = state_size;
  batcher_ = std::make_unique<InferenceBatcher>(
      InferenceBatcher::Options{.row_bytes = row_bytes_,
                                .max_rows = config_.max_batch(),
                                .deadline = std::chrono::microseconds(config_.deadline_microseconds()),
                                .state_bytes = static_cast<size_t>(state_size) * sizeof(float),
                                .batches = config_.threads() + 1});
  gate_ = std::make_unique<ActorGate>(batcher_.get(), &metrics_.held_back);
  for (std::unique_ptr<Policy>& policy : policies) {
    const auto thread = static_cast<uint32_t>(predictors_.size());
    predictors_.push_back({std::move(policy), ExplorationStream(seed_, identity_.incarnation(), thread)});
  }
  // LibTorch keeps some of the number of threads for the whole process: who sets it after this has the last word.
  for (Predictor& predictor : predictors_) {
    threads_.emplace_back([this, &predictor] {
      // Batches are small: threads of an operation that wait for each other cost more than they save. Asked first,
      // because the first question sets the number to that of the process.
      at::get_num_threads();
      at::set_num_threads(1);
      {
        MutexLock lock(&mutex_);
        ++started_;
        changed_.NotifyAll();
      }
      Predict(predictor, static_cast<size_t>(&predictor - predictors_.data()));
    });
  }
  MutexLock lock(&mutex_);
  while (started_ < predictors_.size()) changed_.Wait(&mutex_);
  opened_ = true;
  return absl::OkStatus();
}

void InferenceService::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (batcher_ != nullptr) batcher_->Close();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* InferenceService::Act(
    grpc::CallbackServerContext* context) {
  return ServerStream::Start(context, std::make_shared<Stream>(this));
}

absl::Status InferenceService::CheckOpen(const v1::ActOpen& open) const {
  RETURN_IF_ERROR(CheckPeer(open.peer(), identity_.run_id()));
  if (!opened_) return absl::UnavailableError("the learner is not ready yet");
  const v1::Column& column = open.observation();
  if (column.data_type() != observation_.data_type() || !std::ranges::equal(column.shape(), observation_.shape())) {
    return absl::InvalidArgumentError(
        absl::StrFormat("expected observations %s, got %s", Describe(observation_), Describe(column)));
  }
  if (open.lanes() == 0 || open.lanes() > batcher_->max_rows()) {
    return absl::InvalidArgumentError(absl::StrFormat("expected 1 to %d environments (inference.max_batch), got %d",
                                                      batcher_->max_rows(), open.lanes()));
  }
  return absl::OkStatus();
}

void InferenceService::Predict(Predictor& predictor, size_t thread) {
  if (WaitForWeights() == nullptr) return;
  while (InferenceBatch* const batch = batcher_->Take(thread)) {
    const Clock::time_point taken = Clock::now();
    Clock::time_point loaded = taken;
    const size_t rows = batch->rows;
    const absl::Status status = Compute(predictor, *batch, loaded);
    const Clock::time_point computed = Clock::now();
    if (!status.ok()) LogError("no actions for %d environments: %s", rows, status.ToString());
    metrics_.batch_size.Observe(static_cast<double>(rows));
    for (const InferenceRequest& request : batcher_->Release(batch)) {
      metrics_.requests.Increment();
      metrics_.latency.queue.Observe(Seconds(taken - request.arrived));
      metrics_.latency.assemble.Observe(Seconds(loaded - taken));
      metrics_.latency.compute.Observe(Seconds(computed - loaded));
      const std::shared_ptr<InferenceClient> client = request.client.lock();
      if (client == nullptr) continue;
      v1::ActResponse response;
      response.set_request(request.number);
      response.set_policy_version(predictor.version);
      response.mutable_latency()->set_queue(Microseconds(taken - request.arrived));
      response.mutable_latency()->set_assemble(Microseconds(loaded - taken));
      response.mutable_latency()->set_compute(Microseconds(computed - loaded));
      if (status.ok()) {
        response.set_actions(RowsOf(predictor.actions, rows, request));
        response.set_recurrent_state(RowsOf(predictor.recurrent_state, rows, request));
        response.set_log_probs(RowsOf(predictor.log_probs, rows, request));
      } else {
        response.set_status_code(static_cast<uint32_t>(status.code()));
        response.set_status_message(std::string(status.message()));
      }
      client->Answer(response, computed);
    }
  }
}

absl::Status InferenceService::Compute(Predictor& predictor, const InferenceBatch& batch, Clock::time_point& loaded) {
  try {
    RETURN_IF_ERROR(LoadNewest(predictor));
    std::vector<int64_t> shape = {static_cast<int64_t>(batch.rows)};
    shape.insert(shape.end(), observation_.shape().begin(), observation_.shape().end());
    const at::Tensor observations = at::from_blob(batch.memory.get(), shape, type_);
    if (state_size_ > 0) {
      predictor.recurrent_state = at::from_blob(batch.states.get(), {shape[0], state_size_}, at::kFloat).clone();
    }
    loaded = Clock::now();
    predictor.policy->Act(observations, ActMode::kExplore, predictor.exploration, predictor.recurrent_state,
                          predictor.actions, predictor.log_probs);
    return absl::OkStatus();
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

std::shared_ptr<const InferenceService::Weights> InferenceService::WaitForWeights() {
  MutexLock lock(&mutex_);
  while (newest_ == nullptr && !stopping_) changed_.Wait(&mutex_);
  return stopping_ ? nullptr : newest_;
}

absl::Status InferenceService::LoadNewest(Predictor& predictor) {
  const std::shared_ptr<const Weights> weights = WaitForWeights();
  if (weights == nullptr || weights->version == predictor.version) return absl::OkStatus();
  RETURN_IF_ERROR(LoadTensors(weights->safetensors, predictor.policy->Tensors()));
  predictor.version = weights->version;
  return absl::OkStatus();
}

}  // namespace headrace
