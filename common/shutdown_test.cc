#include "common/shutdown.h"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <latch>
#include <thread>

#include "gtest/gtest.h"

namespace headrace {
namespace {

// As threads of CUDA's driver do: the process is told to end, and the system may choose them to hear of it.
TEST(ShutdownSignalTest, AsksAlsoWhereAThreadHasUnblockedIt) {
  ShutdownSignal::Install();
  std::latch unblocked(1), heard(1);
  std::thread careless([&] {
    sigset_t set;
    sigfillset(&set);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    unblocked.count_down();
    heard.wait();
  });
  unblocked.wait();
  EXPECT_FALSE(ShutdownSignal::Requested());
  pthread_kill(careless.native_handle(), SIGTERM);
  EXPECT_TRUE(ShutdownSignal::WaitUntil(std::chrono::steady_clock::now() + std::chrono::seconds(60)));
  heard.count_down();
  careless.join();
}

}  // namespace
}  // namespace headrace
