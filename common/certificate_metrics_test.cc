#include "common/certificate_metrics.h"

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/metrics.h"
#include "common/seconds.h"
#include "common/test_directory.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

constexpr absl::string_view kName = "headrace_certificate_expiry_timestamp_seconds ";

// Its lines on the page that are samples.
std::vector<std::string> Samples(const MetricRegistry& registry) {
  std::vector<std::string> samples;
  for (const absl::string_view line : absl::StrSplit(registry.Text(), '\n')) {
    if (line.substr(0, kName.size()) == kName) samples.emplace_back(line.substr(kName.size()));
  }
  return samples;
}

double Value(const MetricRegistry& registry) {
  const std::vector<std::string> samples = Samples(registry);
  double value = -1;
  EXPECT_EQ(samples.size(), 1u);
  EXPECT_TRUE(!samples.empty() && absl::SimpleAtod(samples[0], &value)) << registry.Text();
  return value;
}

TEST(CertificateMetricsTest, TellsUntilWhenTheCertificatesThatAreThereNowAreValid) {
  const TestDirectory directory;
  MetricRegistry registry("learner");
  ExportCertificateExpiry(directory.path(), registry);
  EXPECT_TRUE(std::isnan(Value(registry))) << "there are none yet";
  const std::string made = absl::StrCat("cd ", directory.path(),
                                        " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
                                        " -days 2 -subj /CN=authority -keyout tls.key -out tls.crt 2>/dev/null"
                                        " && cp tls.crt ca.crt");
  ASSERT_EQ(std::system(made.c_str()), 0);
  const double now = Seconds(std::chrono::system_clock::now().time_since_epoch());
  EXPECT_NEAR(Value(registry), now + 2 * 86400, 3600);
  std::filesystem::remove(directory.path() + "/tls.crt");
  EXPECT_TRUE(std::isnan(Value(registry)));
}

TEST(CertificateMetricsTest, AProcessWithoutCertificatesHasNoSuchTime) {
  MetricRegistry registry("learner");
  ExportCertificateExpiry("", registry);
  EXPECT_TRUE(Samples(registry).empty());
}

}  // namespace
}  // namespace headrace
