#include "learner/run_service.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/byte_buffer.h"
#include "common/log.h"
#include "common/protocol.h"
#include "common/server_stream.h"
#include "google/protobuf/util/message_differencer.h"

namespace headrace {

namespace {

// Far above the number of actors that a run may have, and low enough for the lanes of all of them to be numbered.
constexpr uint32_t kMaxIndex = 1 << 16;

// What is kept of a member until it leaves, and of reports until the learner takes them.
constexpr size_t kMaxNameBytes = 1 << 10;
constexpr size_t kMaxReportBytes = 256 << 20;

absl::Status CheckJoin(const v1::Join& join) {
  if (join.role() != v1::ACTOR && join.role() != v1::EVALUATOR) {
    return absl::InvalidArgumentError("expected the role ACTOR or EVALUATOR");
  }
  if (join.host().size() > kMaxNameBytes || join.peer().name().size() > kMaxNameBytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("expected names of host and peer of up to %d bytes, got %d and %d", kMaxNameBytes,
                        join.host().size(), join.peer().name().size()));
  }
  return absl::OkStatus();
}

absl::Status CheckReport(const v1::AttendRequest& report) {
  for (const v1::Episode& episode : report.episodes()) {
    if (!std::isfinite(episode.episode_return())) {
      return absl::InvalidArgumentError(absl::StrFormat("an episode's return is %f", episode.episode_return()));
    }
  }
  const v1::EvaluationResult& evaluation = report.evaluation();
  if (evaluation.returns_size() != evaluation.lengths_size()) {
    return absl::InvalidArgumentError(absl::StrFormat("an evaluation has %d returns but %d lengths",
                                                      evaluation.returns_size(), evaluation.lengths_size()));
  }
  for (const double value : evaluation.returns()) {
    if (!std::isfinite(value))
      return absl::InvalidArgumentError(absl::StrFormat("an evaluation's return is %f", value));
  }
  return absl::OkStatus();
}

}  // namespace

// One member's stream. Everything it learns goes to the service.
class AttendStream final : public ServerStream {
 public:
  AttendStream(RunService* service, uint64_t number, std::string address)
      : service_(service), number_(number), address_(std::move(address)) {}

  void Order(const v1::RunOrder& order) { Send(ToByteBuffer(order)); }

 private:
  void OnMessage(const grpc::ByteBuffer& message) override {
    v1::AttendRequest request;
    absl::Status status = FromByteBuffer(message, request);
    if (status.ok() && !joined_) {
      status = request.has_join() ? service_->Join(number_, request.join(), address_,
                                                   std::static_pointer_cast<AttendStream>(shared_from_this()))
                                  : absl::InvalidArgumentError("expected Join in a stream's first message");
      joined_ = status.ok();
    }
    if (status.ok()) status = service_->Report(number_, request);
    if (!status.ok()) {
      LogWarning("%s at %s refused: %s", request.has_join() ? request.join().peer().name() : "a member", address_,
                 status.ToString());
      Close(status);
      return;
    }
    ReadNext();
  }

  void OnClosed() override { service_->Leave(number_); }

  RunService* const service_;
  const uint64_t number_;
  const std::string address_;
  bool joined_ = false;
};

RunService::RunService(std::string run_id, uint32_t incarnation, CheckEnvironment check_environment)
    : run_id_(std::move(run_id)), incarnation_(incarnation), check_environment_(std::move(check_environment)) {}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* RunService::Attend(grpc::CallbackServerContext* context) {
  return ServerStream::Start(context, std::make_shared<AttendStream>(this, next_stream_++, context->peer()));
}

absl::Status RunService::Join(uint64_t stream, const v1::Join& join, const std::string& address,
                              std::weak_ptr<AttendStream> member_stream) {
  if (absl::Status status = CheckPeer(join.peer(), run_id_); !status.ok()) return status;
  if (absl::Status status = CheckJoin(join); !status.ok()) return status;
  if (absl::Status status = check_environment_(join.environment()); !status.ok()) return status;
  MutexLock lock(&mutex_);
  if (!environment_.has_value()) {
    environment_ = join.environment();
    changed_.NotifyAll();
  }
  google::protobuf::util::MessageDifferencer differencer;
  std::string difference;
  differencer.ReportDifferencesToString(&difference);
  if (!differencer.Compare(*environment_, join.environment())) {
    return absl::FailedPreconditionError(absl::StrFormat("this run's environment is %s; that of %s differs: %s",
                                                         environment_->name(), join.peer().name(), difference));
  }
  Member& member = members_[stream];
  member.join = join;
  member.join.clear_environment();  // it is environment_, and may be large
  member.address = address;
  member.stream = std::move(member_stream);
  if (stopped_) {
    v1::RunOrder order;
    order.set_stop(stop_reason_);
    if (const auto alive = member.stream.lock()) alive->Order(order);
  } else if (lease_.has_value()) {
    GrantLease(member);
  }
  return absl::OkStatus();
}

void RunService::GrantLease(Member& member) {
  const auto alive = member.stream.lock();
  if (alive == nullptr) return;
  member.index = FreeIndex(member);
  v1::RunOrder order;
  *order.mutable_lease() = *lease_;
  order.mutable_lease()->set_index(*member.index);
  if (member.join.role() == v1::ACTOR) {
    order.mutable_lease()->set_generation(uint64_t{incarnation_} << 32 | grants_[*member.index]++);
    order.mutable_lease()->set_random_steps(random_steps_(ActorsLocked()));
  }
  LogInfo("%s %d joined from %s (process %d, %d environments)", member.join.role() == v1::ACTOR ? "actor" : "evaluator",
          *member.index, member.address, member.join.process_id(), member.join.environments());
  alive->Order(order);
}

uint32_t RunService::FreeIndex(const Member& member) const {
  std::vector<bool> taken(members_.size() + 1);  // one of so many is free
  bool previous_is_free = member.join.has_previous_index() && member.join.previous_index() < kMaxIndex;
  for (const auto& [stream, other] : members_) {
    if (other.join.role() != member.join.role() || !other.index.has_value()) continue;
    if (*other.index < taken.size()) taken[*other.index] = true;
    if (*other.index == member.join.previous_index()) previous_is_free = false;
  }
  if (previous_is_free) return member.join.previous_index();
  return static_cast<uint32_t>(std::find(taken.begin(), taken.end(), false) - taken.begin());
}

absl::Status RunService::Report(uint64_t stream, v1::AttendRequest& report) {
  if (absl::Status status = CheckReport(report); !status.ok()) return status;
  MutexLock lock(&mutex_);
  const size_t bytes = report.SpaceUsedLong();
  if (report_bytes_ + bytes > kMaxReportBytes) {
    return absl::ResourceExhaustedError("the learner has not taken the reports it was given; try again");
  }
  report_bytes_ += bytes;
  for (v1::Episode& episode : *report.mutable_episodes()) reports_.episodes.push_back(std::move(episode));
  if (report.has_observation_moments()) reports_.moments.push_back(std::move(*report.mutable_observation_moments()));
  if (report.has_return_moments()) reports_.return_moments.push_back(std::move(*report.mutable_return_moments()));
  if (report.has_evaluation()) {
    // One that was ordered through an earlier stream of this member is of no use any more, and ends nothing.
    std::optional<uint64_t>& evaluating = members_.at(stream).evaluating;
    if (evaluating == report.evaluation().version()) {
      evaluating.reset();
      reports_.evaluations.push_back(std::move(*report.mutable_evaluation()));
    }
  }
  return absl::OkStatus();
}

void RunService::Leave(uint64_t stream) {
  MutexLock lock(&mutex_);
  const auto member = members_.find(stream);
  if (member == members_.end()) return;
  if (member->second.index.has_value()) {
    LogInfo("%s %d left", member->second.join.role() == v1::ACTOR ? "actor" : "evaluator", *member->second.index);
  }
  members_.erase(member);
  changed_.NotifyAll();
}

absl::StatusOr<v1::EnvironmentSpec> RunService::WaitForEnvironment(Deadline deadline) {
  MutexLock lock(&mutex_);
  while (!environment_.has_value()) {
    if (!changed_.WaitUntil(&mutex_, deadline)) return absl::DeadlineExceededError("no actor has joined");
  }
  return *environment_;
}

void RunService::Open(v1::Lease lease, std::function<uint64_t(uint64_t)> random_steps) {
  MutexLock lock(&mutex_);
  lease_ = std::move(lease);
  random_steps_ = std::move(random_steps);
  for (auto& [stream, member] : members_) GrantLease(member);
}

RunService::Reports RunService::TakeReports() {
  MutexLock lock(&mutex_);
  report_bytes_ = 0;
  return std::exchange(reports_, {});
}

bool RunService::Evaluate(const v1::Evaluate& evaluate) {
  MutexLock lock(&mutex_);
  for (auto& [stream, member] : members_) {
    if (member.join.role() != v1::EVALUATOR || !member.index.has_value() || member.evaluating.has_value()) continue;
    const auto alive = member.stream.lock();
    if (alive == nullptr) continue;
    v1::RunOrder order;
    *order.mutable_evaluate() = evaluate;
    alive->Order(order);
    member.evaluating = evaluate.version();
    return true;
  }
  return false;
}

bool RunService::Evaluating() const {
  MutexLock lock(&mutex_);
  return std::any_of(members_.begin(), members_.end(),
                     [](const auto& entry) { return entry.second.evaluating.has_value(); });
}

bool RunService::HasEvaluator() const {
  MutexLock lock(&mutex_);
  return std::any_of(members_.begin(), members_.end(),
                     [](const auto& entry) { return entry.second.join.role() == v1::EVALUATOR; });
}

uint32_t RunService::actors() const {
  MutexLock lock(&mutex_);
  return ActorsLocked();
}

uint32_t RunService::ActorsLocked() const {
  return static_cast<uint32_t>(std::count_if(members_.begin(), members_.end(), [](const auto& entry) {
    return entry.second.join.role() == v1::ACTOR && entry.second.index.has_value();
  }));
}

void RunService::Stop(const std::string& reason) {
  MutexLock lock(&mutex_);
  stopped_ = true;
  stop_reason_ = reason;
  v1::RunOrder order;
  order.set_stop(reason);
  for (auto& [stream, member] : members_) {
    if (const auto alive = member.stream.lock()) alive->Order(order);
  }
}

bool RunService::WaitUntilEmpty(Deadline deadline) {
  MutexLock lock(&mutex_);
  while (!members_.empty()) {
    if (!changed_.WaitUntil(&mutex_, deadline)) return false;
  }
  return true;
}

void RunService::SetStatus(const v1::RunStatus& status) {
  MutexLock lock(&mutex_);
  status_ = status;
}

grpc::Status RunService::Status(grpc::ServerContext*, const v1::StatusRequest*, v1::RunStatus* response) {
  MutexLock lock(&mutex_);
  *response = status_;
  response->set_run_id(run_id_);
  for (const auto& [stream, member] : members_) {
    v1::Member& entry = *response->add_members();
    entry.set_role(member.join.role());
    entry.set_index(member.index.value_or(UINT32_MAX));
    entry.set_address(member.address);
    entry.set_process_id(member.join.process_id());
    entry.set_host(member.join.host());
  }
  return grpc::Status::OK;
}

}  // namespace headrace
