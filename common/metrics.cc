#include "common/metrics.h"

#include <sstream>
#include <utility>

#include "common/check.h"
#include "common/process_metrics.h"
#include "common/version.h"
#include "prometheus/text_serializer.h"

namespace headrace {
namespace {

prometheus::Labels MakeLabels(const std::vector<std::string>& names, const std::vector<std::string>& values) {
  HEADRACE_CHECK(names.size() == values.size());
  prometheus::Labels labels;
  for (size_t i = 0; i < names.size(); ++i) labels[names[i]] = values[i];
  return labels;
}

}  // namespace

std::vector<double> LatencyBuckets() {
  std::vector<double> buckets;
  // Divided rather than multiplied by 1e-5, so that 0.1 is printed as 0.1.
  for (const double decade : {1e5, 1e4, 1e3, 1e2, 1e1, 1e0}) {
    for (const double step : {1.0, 2.0, 5.0}) buckets.push_back(step / decade);
  }
  // For evaluations, and for rounds that wait for their slowest actor.
  for (const double seconds : {10.0, 30.0, 60.0}) buckets.push_back(seconds);
  return buckets;
}

prometheus::Counter& CounterFamily::With(const std::vector<std::string>& values) const {
  return family_->Add(MakeLabels(labels_, values));
}

prometheus::Gauge& GaugeFamily::With(const std::vector<std::string>& values) const {
  return family_->Add(MakeLabels(labels_, values));
}

void GaugeFamily::Remove(prometheus::Gauge& metric) const { family_->Remove(&metric); }

prometheus::Histogram& HistogramFamily::With(const std::vector<std::string>& values) const {
  return family_->Add(MakeLabels(labels_, values), buckets_);
}

MetricRegistry::MetricRegistry(const std::string& role) {
  AddGaugeFamily("headrace_build_info", "Always 1; the labels say what runs.", {"role", "version", "revision"})
      .With({role, kVersion, Revision()})
      .Set(1);
}

prometheus::Counter& MetricRegistry::AddCounter(const std::string& name, const std::string& help) {
  return AddCounterFamily(name, help, {}).With({});
}

prometheus::Gauge& MetricRegistry::AddGauge(const std::string& name, const std::string& help, double initial) {
  prometheus::Gauge& gauge = AddGaugeFamily(name, help, {}).With({});
  gauge.Set(initial);
  return gauge;
}

prometheus::Histogram& MetricRegistry::AddHistogram(const std::string& name, const std::string& help,
                                                    std::vector<double> buckets) {
  return AddHistogramFamily(name, help, {}, std::move(buckets)).With({});
}

CounterFamily MetricRegistry::AddCounterFamily(const std::string& name, const std::string& help,
                                               std::vector<std::string> labels) {
  Declare(name, "counter", help, labels);
  CounterFamily family;
  family.family_ = &prometheus::BuildCounter().Name(name).Help(help).Register(registry_);
  family.labels_ = std::move(labels);
  return family;
}

GaugeFamily MetricRegistry::AddGaugeFamily(const std::string& name, const std::string& help,
                                           std::vector<std::string> labels) {
  Declare(name, "gauge", help, labels);
  GaugeFamily family;
  family.family_ = &prometheus::BuildGauge().Name(name).Help(help).Register(registry_);
  family.labels_ = std::move(labels);
  return family;
}

HistogramFamily MetricRegistry::AddHistogramFamily(const std::string& name, const std::string& help,
                                                   std::vector<std::string> labels, std::vector<double> buckets) {
  Declare(name, "histogram", help, labels);
  HistogramFamily family;
  family.family_ = &prometheus::BuildHistogram().Name(name).Help(help).Register(registry_);
  family.labels_ = std::move(labels);
  family.buckets_ = std::move(buckets);
  return family;
}

void MetricRegistry::OnPage(std::function<void()> refresh) {
  MutexLock lock(&refreshes_mutex_);
  refreshes_.push_back(std::move(refresh));
}

std::string MetricRegistry::Text() const {
  {
    MutexLock lock(&refreshes_mutex_);
    for (const std::function<void()>& refresh : refreshes_) refresh();
  }
  std::ostringstream text;
  const prometheus::TextSerializer serializer;
  serializer.Serialize(text, registry_.Collect());
  serializer.Serialize(text, ProcessMetrics().Collect());
  return text.str();
}

std::vector<MetricDescription> MetricRegistry::Descriptions() const {
  std::map<std::string, MetricDescription> all;
  for (const prometheus::MetricFamily& family : ProcessMetrics().Collect()) {
    const bool is_counter = family.type == prometheus::MetricType::Counter;
    all[family.name] = {family.name, is_counter ? "counter" : "gauge", family.help, {}};
  }
  MutexLock lock(&mutex_);
  all.insert(declared_.begin(), declared_.end());
  std::vector<MetricDescription> descriptions;
  for (const auto& [name, description] : all) descriptions.push_back(description);
  return descriptions;
}

void MetricRegistry::Declare(const std::string& name, const std::string& type, const std::string& help,
                             const std::vector<std::string>& labels) {
  HEADRACE_CHECK(name.starts_with("headrace_"));
  HEADRACE_CHECK(name.ends_with("_total") == (type == "counter"));
  HEADRACE_CHECK(!help.empty());
  MutexLock lock(&mutex_);
  HEADRACE_CHECK(declared_.insert({name, {name, type, help, labels}}).second);
}

}  // namespace headrace
