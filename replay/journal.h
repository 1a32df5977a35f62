// What was inserted since the last checkpoint, on disk before it is acknowledged. docs/formats/journal.md describes the
// bytes.
//
//   Table::Insert ──AddChunk──▶ [queue] ──thread: write, sync──▶ DIRECTORY/000000000007.journal
//                                             ├──▶ TellDurable: the learner may hear of the steps
//                                             └──▶ those who wait in WaitDurable: their chunks may be acknowledged
//
// What has come while the disk was busy is synced together. A disk that is full is tried again until it has room: until
// then nothing is acknowledged, and nothing is lost.
//
// Thread-safe.
#ifndef HEADRACE_REPLAY_JOURNAL_H_
#define HEADRACE_REPLAY_JOURNAL_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "grpcpp/support/byte_buffer.h"
#include "proto/checkpoint.pb.h"
#include "proto/replay.pb.h"

namespace headrace {

class Journal {
 public:
  struct Waiter {
    const void* owner;
    std::function<void()> wake;
  };

  // Begins a file after those that the directory has, and after number `last`, which it may have had.
  static absl::StatusOr<std::unique_ptr<Journal>> Start(const std::string& directory, uint64_t last);
  // Writes what it was given, unless the disk refuses it.
  ~Journal();

  void AddTable(const std::string& run_id, const v1::TableSpec& spec) ABSL_LOCKS_EXCLUDED(mutex_);
  // `request`: the InsertRequest as it came. To be called in the order in which chunks are committed. Returns the
  // entry's number: how many were added with it.
  uint64_t AddChunk(const std::string& table, uint64_t writer, const grpc::ByteBuffer& request)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // `told` is called with the number of entries on disk whenever it has grown, on one thread, before anybody finds it
  // with durable() or is woken for it. To be set before anything is added.
  void TellDurable(std::function<void(uint64_t entries)> told) ABSL_LOCKS_EXCLUDED(mutex_);

  // How many entries were added, and how many of them are on disk.
  uint64_t added() const ABSL_LOCKS_EXCLUDED(mutex_);
  uint64_t durable() const ABSL_LOCKS_EXCLUDED(mutex_);
  // True: so many are on disk. Otherwise the waiter is woken when they are, on another thread; an owner has one waiter.
  bool WaitDurable(uint64_t entries, Waiter waiter) ABSL_LOCKS_EXCLUDED(mutex_);
  void StopWaiting(const void* owner) ABSL_LOCKS_EXCLUDED(mutex_);

  // What is added from now on goes to a new file, whose number is returned. It begins with the tables there are, so
  // that it can be read without those before it.
  uint64_t NextFile(const std::string& run_id, const std::vector<v1::TableSpec>& tables) ABSL_LOCKS_EXCLUDED(mutex_);

  static std::string Path(const std::string& directory, uint64_t number);
  // Numbers of the files there are, oldest first.
  static std::vector<uint64_t> Files(const std::string& directory);
  // What they hold is in every checkpoint that is left.
  static void RemoveFilesBefore(const std::string& directory, uint64_t number);

 private:
  struct Entry {
    uint64_t file;
    v1::JournalEntry head;
    grpc::ByteBuffer request;
  };
  struct Waiting {
    uint64_t entries;
    std::function<void()> wake;
  };

  Journal(std::string directory, uint64_t file);

  void Add(v1::JournalEntry head, const grpc::ByteBuffer& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  // Some of the first, until they are on disk: how many. 0: the journal is being stopped, and the disk would not take
  // them.
  size_t WriteFirst(const std::deque<Entry>& entries) ABSL_LOCKS_EXCLUDED(mutex_);
  void AddDurable(size_t entries) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status WriteAndSync(uint64_t number, const std::string& bytes);
  absl::Status Open(uint64_t number);

  const std::string directory_;
  // Of the thread that writes.
  int open_ = -1;
  uint64_t open_number_ = 0;
  uint64_t good_bytes_ = 0;  // of the open file: behind them may be what a full disk has cut off

  mutable Mutex mutex_;
  ConditionVariable changed_;
  uint64_t file_ ABSL_GUARDED_BY(mutex_);  // that new entries go to
  std::deque<Entry> queue_ ABSL_GUARDED_BY(mutex_);
  uint64_t added_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t durable_ ABSL_GUARDED_BY(mutex_) = 0;
  std::function<void(uint64_t)> told_ ABSL_GUARDED_BY(mutex_) = [](uint64_t) {};
  absl::flat_hash_map<const void*, Waiting> waiting_ ABSL_GUARDED_BY(mutex_);  // by owner
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  std::thread thread_;
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_JOURNAL_H_
