// For LD_PRELOAD: metrics that record nothing, so that a process can be measured without what they cost.
#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"

namespace prometheus {

void Counter::Increment() {}
void Counter::Increment(double) {}
void Gauge::Increment() {}
void Gauge::Increment(double) {}
void Gauge::Decrement() {}
void Gauge::Decrement(double) {}
void Gauge::Set(double) {}
void Histogram::Observe(double) {}

}  // namespace prometheus
