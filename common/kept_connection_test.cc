#include "common/kept_connection.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;

// Notes what a connection does, and lets a test wait for it.
class Notes {
 public:
  void Add(const std::string& what) {
    MutexLock lock(&mutex_);
    notes_.push_back(what);
    changed_.NotifyAll();
  }
  // The first `count` notes, once there are so many.
  std::vector<std::string> Wait(size_t count) {
    MutexLock lock(&mutex_);
    while (notes_.size() < count) changed_.Wait(&mutex_);
    return {notes_.begin(), notes_.begin() + static_cast<ptrdiff_t>(count)};
  }

 private:
  Mutex mutex_;
  ConditionVariable changed_;
  std::vector<std::string> notes_ ABSL_GUARDED_BY(mutex_);
};

KeptConnection::Steps Noting(Notes* notes, absl::Status opens = absl::OkStatus()) {
  return {.open =
              [notes, opens] {
                notes->Add("open");
                return opens;
              },
          .close = [notes] { notes->Add("close"); },
          .lost = [notes](const absl::Status& status,
                          bool final) { notes->Add(std::string(status.message()) + (final ? ", finally" : "")); }};
}

TEST(KeptConnectionTest, IsMadeAgainWhenItIsLost) {
  Notes notes;
  KeptConnection connection("a peer", Noting(&notes));
  notes.Wait(1);
  connection.Proven();
  EXPECT_EQ(connection.reconnects(), 0);
  connection.Lost(absl::UnavailableError("gone"));
  EXPECT_THAT(notes.Wait(4), ElementsAre("open", "close", "gone", "open"));
  connection.Proven();
  connection.Proven();
  EXPECT_EQ(connection.reconnects(), 1);
}

TEST(KeptConnectionTest, TheFirstWordOfAConnectionCounts) {
  Notes notes;
  KeptConnection connection("a peer", Noting(&notes));
  notes.Wait(1);
  connection.Lost(absl::OkStatus());
  connection.Lost(absl::InvalidArgumentError("never heard"));
  EXPECT_THAT(notes.Wait(4), ElementsAre("open", "close", "the peer ended the stream", "open"));
}

TEST(KeptConnectionTest, AFailedAttemptIsFollowedByAnother) {
  Notes notes;
  KeptConnection connection("a peer", Noting(&notes, absl::UnavailableError("nobody there")));
  EXPECT_THAT(notes.Wait(3), ElementsAre("open", "nobody there", "open"));
}

TEST(KeptConnectionTest, ARefusalIsFinal) {
  Notes notes;
  {
    KeptConnection connection("a peer", Noting(&notes));
    notes.Wait(1);
    connection.Lost(absl::FailedPreconditionError("of another run"));
    notes.Wait(3);
  }
  EXPECT_THAT(notes.Wait(3), ElementsAre("open", "close", "of another run, finally"));
}

TEST(KeptConnectionTest, ClosesQuietlyWhenItIsStoppedOrDestroyed) {
  Notes notes;
  {
    KeptConnection connection("a peer", Noting(&notes));
    notes.Wait(1);
  }
  EXPECT_THAT(notes.Wait(2), ElementsAre("open", "close"));
}

// An end of the stream that comes while it is opened.
TEST(KeptConnectionTest, MayBeLostBeforeItIsOpen) {
  Notes notes;
  KeptConnection* itself = nullptr;
  Mutex mutex;
  KeptConnection::Steps steps = Noting(&notes);
  steps.open = [&] {
    MutexLock lock(&mutex);
    itself->Lost(absl::UnavailableError("at once"));
    notes.Add("open");
    return absl::OkStatus();
  };
  mutex.Lock();
  KeptConnection connection("a peer", steps);
  itself = &connection;
  mutex.Unlock();
  EXPECT_THAT(notes.Wait(4), ElementsAre("open", "close", "at once", "open"));
}

TEST(KeptConnectionTest, KnowsWhichStatusesAreFinal) {
  EXPECT_TRUE(KeptConnection::IsFinal(absl::InvalidArgumentError("")));
  EXPECT_TRUE(KeptConnection::IsFinal(absl::UnimplementedError("")));
  EXPECT_FALSE(KeptConnection::IsFinal(absl::UnavailableError("")));
  EXPECT_FALSE(KeptConnection::IsFinal(absl::NotFoundError("")));  // a table that is not there yet
  EXPECT_FALSE(KeptConnection::IsFinal(absl::CancelledError("")));
  EXPECT_FALSE(KeptConnection::IsFinal(absl::InternalError("")));
  EXPECT_FALSE(KeptConnection::IsFinal(absl::ResourceExhaustedError("no memory left")));
  EXPECT_TRUE(KeptConnection::IsFinal(absl::ResourceExhaustedError("Received message larger than max (9 vs. 8)")));
}

}  // namespace
}  // namespace headrace
