#include "common/kept_connection.h"

#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/match.h"
#include "common/backoff.h"
#include "common/log.h"
#include "common/security.h"

namespace headrace {
namespace {

constexpr std::chrono::milliseconds kFirstPause{50};
constexpr std::chrono::milliseconds kLongestPause{2000};
// So gRPC says of a message, and a ServerStream like it. With the same status it ends streams when a server has no
// memory left for what comes in, which passes.
constexpr char kTooLarge[] = "larger than max";

}  // namespace

bool KeptConnection::IsFinal(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kUnimplemented:  // another service listens there
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return true;
    case absl::StatusCode::kResourceExhausted:
      return absl::StrContains(status.message(), kTooLarge);
    default:
      return false;
  }
}

KeptConnection::KeptConnection(std::string peer, Steps steps)
    : peer_(std::move(peer)), steps_(std::move(steps)), thread_([this] { Run(); }) {}

KeptConnection::~KeptConnection() {
  Stop();
  thread_.join();
}

void KeptConnection::Lost(const absl::Status& status) {
  MutexLock lock(&mutex_);
  if (lost_) return;
  lost_ = true;
  status_ = status.ok() ? absl::UnavailableError("the peer ended the stream") : status;
  changed_.NotifyAll();
}

void KeptConnection::Proven() {
  MutexLock lock(&mutex_);
  if (proven_) return;
  proven_ = true;
  if (++proven_connections_ > 1) LogInfo("connected to %s again", peer_);
  trouble_ = absl::OkStatus();
}

void KeptConnection::Stop() {
  MutexLock lock(&mutex_);
  stopping_ = true;
  changed_.NotifyAll();
}

uint64_t KeptConnection::reconnects() const {
  MutexLock lock(&mutex_);
  return proven_connections_ > 0 ? proven_connections_ - 1 : 0;
}

void KeptConnection::Run() {
  Backoff backoff(kFirstPause, kLongestPause, RandomStream(absl::HashOf(peer_, this)));
  while (true) {
    const absl::Status status = RunOnce();
    const bool final = IsFinal(status);
    {
      MutexLock lock(&mutex_);
      if (stopping_) return;
      if (proven_) backoff.Reset();
      // Attempts fail the same way while the peer is away: the log wants to know once.
      const std::string hint = ProcessSecurity()->Hint(status);
      if (final || trouble_.code() != status.code() || hint != hint_) {
        LogWarning("no connection to %s: %s%s", peer_, status.ToString(), hint);
      }
      trouble_ = status;
      hint_ = hint;
    }
    steps_.lost(status, final);
    if (final) return;
    const auto until = ConditionVariable::Clock::now() + backoff.Next();
    MutexLock lock(&mutex_);
    while (!stopping_ && ConditionVariable::Clock::now() < until) changed_.WaitUntil(&mutex_, until);
    if (stopping_) return;
  }
}

absl::Status KeptConnection::RunOnce() {
  {
    MutexLock lock(&mutex_);
    lost_ = false;  // before anything is opened: it may end at once
    proven_ = false;
  }
  if (absl::Status status = steps_.open(); !status.ok()) return status;
  absl::Status status;
  {
    MutexLock lock(&mutex_);
    while (!lost_ && !stopping_) changed_.Wait(&mutex_);
    status = status_;
  }
  steps_.close();
  return status;
}

}  // namespace headrace
