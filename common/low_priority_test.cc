#include "common/low_priority.h"

#include <sys/resource.h>

#include <algorithm>
#include <stdexcept>

#include "gtest/gtest.h"

namespace headrace {
namespace {

TEST(LowPriorityTest, OnlyTheWorkGoesBehindOthers) {
  const int before = ::getpriority(PRIO_PROCESS, 0);
  int meanwhile = before;
  RunAtLowPriority([&] { meanwhile = ::getpriority(PRIO_PROCESS, 0); });
  EXPECT_EQ(meanwhile, std::min(before + 10, 19));
  EXPECT_EQ(::getpriority(PRIO_PROCESS, 0), before);
}

TEST(LowPriorityTest, WhatTheWorkThrowsIsThrown) {
  EXPECT_THROW(RunAtLowPriority([] { throw std::runtime_error("full"); }), std::runtime_error);
}

}  // namespace
}  // namespace headrace
