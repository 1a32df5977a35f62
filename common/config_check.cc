#include "common/config_check.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/config_names.h"
#include "google/protobuf/descriptor.h"
#include "proto/field_options.pb.h"

namespace headrace {
namespace {

namespace pb = ::google::protobuf;
using Field = pb::FieldDescriptor;

// One number of a field, `index` -1 for singular ones. Integers beyond 2^53 lose digits, which no limit is near to.
double NumberOf(const pb::Message& message, const Field& field, int index) {
  const pb::Reflection& reflection = *message.GetReflection();
  const bool repeated = index >= 0;
  switch (field.cpp_type()) {
    case Field::CPPTYPE_INT32:
      return repeated ? reflection.GetRepeatedInt32(message, &field, index) : reflection.GetInt32(message, &field);
    case Field::CPPTYPE_INT64:
      return static_cast<double>(repeated ? reflection.GetRepeatedInt64(message, &field, index)
                                          : reflection.GetInt64(message, &field));
    case Field::CPPTYPE_UINT32:
      return repeated ? reflection.GetRepeatedUInt32(message, &field, index) : reflection.GetUInt32(message, &field);
    case Field::CPPTYPE_UINT64:
      return static_cast<double>(repeated ? reflection.GetRepeatedUInt64(message, &field, index)
                                          : reflection.GetUInt64(message, &field));
    case Field::CPPTYPE_DOUBLE:
      return repeated ? reflection.GetRepeatedDouble(message, &field, index) : reflection.GetDouble(message, &field);
    case Field::CPPTYPE_FLOAT:
      return repeated ? reflection.GetRepeatedFloat(message, &field, index) : reflection.GetFloat(message, &field);
    default:
      return 0;  // not a number, and therefore within every limit that it can have
  }
}

void CheckNumber(double number, const Field& field, const std::string& path, std::vector<ConfigViolation>* violations) {
  const pb::FieldOptions& options = field.options();
  const double min = options.GetExtension(v1::min);
  const double max = options.GetExtension(v1::max);
  const double above = options.GetExtension(v1::above);
  // Fifteen digits: whole numbers as they were written, 0.1 as 0.1.
  if (!std::isfinite(number)) {
    violations->push_back({path, absl::StrFormat("%g is not a finite number", number)});
  } else if (options.HasExtension(v1::min) && number < min) {
    violations->push_back({path, absl::StrFormat("%.15g is less than the minimum %.15g", number, min)});
  } else if (options.HasExtension(v1::max) && number > max) {
    violations->push_back({path, absl::StrFormat("%.15g is more than the maximum %.15g", number, max)});
  } else if (options.HasExtension(v1::above) && number <= above) {
    violations->push_back({path, absl::StrFormat("%.15g is not above %.15g", number, above)});
  }
}

void CheckRanges(const pb::Message& message, const std::string& prefix, std::vector<ConfigViolation>* violations) {
  const pb::Reflection& reflection = *message.GetReflection();
  std::vector<const Field*> fields;
  reflection.ListFields(message, &fields);
  for (const Field* field : fields) {
    const bool is_message = field->cpp_type() == Field::CPPTYPE_MESSAGE;
    const int count = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      const int index = field->is_repeated() ? i : -1;
      const std::string path =
          absl::StrCat(prefix, field->name(), field->is_repeated() ? absl::StrCat("[", i, "]") : "");
      if (!is_message) {
        CheckNumber(NumberOf(message, *field, index), *field, path, violations);
      } else if (field->is_repeated()) {
        CheckRanges(reflection.GetRepeatedMessage(message, field, i), path + ".", violations);
      } else {
        CheckRanges(reflection.GetMessage(message, field), path + ".", violations);
      }
    }
  }
}

}  // namespace

std::vector<ConfigViolation> FindRangeViolations(const pb::Message& message) {
  std::vector<ConfigViolation> violations;
  CheckRanges(message, "", &violations);
  return violations;
}

std::vector<ConfigViolation> FindInconsistencies(const v1::RunConfig& config) {
  std::vector<ConfigViolation> violations;
  if (config.environment().name().empty()) {
    violations.push_back({"environment.name", "required: the environment to learn in"});
  }
  if (config.topology() == v1::TOPOLOGY_UNSPECIFIED) {
    violations.push_back({"topology", UnknownValueMessage(EnumValueNames(*v1::Topology_descriptor()),
                                                          v1::Topology_Name(config.topology()))});
  }
  if (config.algorithm_case() == v1::RunConfig::ALGORITHM_NOT_SET) {
    std::string names;
    const pb::OneofDescriptor& algorithms = *v1::RunConfig::descriptor()->FindOneofByName("algorithm");
    for (int i = 0; i < algorithms.field_count(); ++i) {
      absl::StrAppend(&names, i == 0 ? "" : ", ", algorithms.field(i)->name(), " {}");
    }
    violations.push_back({"algorithm", absl::StrCat("required, exactly one of: ", names)});
  }
  if (config.deterministic()) {
    constexpr char kReason[] = " with deterministic: true, which needs 1: what several do at once has no fixed order";
    if (config.actor().processes() != 1) {
      violations.push_back({"actor.processes", absl::StrCat(config.actor().processes(), kReason)});
    }
    if (config.replay().shards() != 1) {
      violations.push_back({"replay.shards", absl::StrCat(config.replay().shards(), kReason)});
    }
    if (config.actor().on_backpressure() == v1::DROP_EPISODE) {
      violations.push_back({"actor.on_backpressure",
                            "DROP_EPISODE with deterministic: true: what is dropped depends on how fast replay is"});
    }
  }
  if (config.topology() == v1::CENTRAL_INFERENCE && config.inference().max_batch() < config.actor().environments()) {
    violations.push_back({"inference.max_batch",
                          absl::StrFormat("%d is less than actor.environments, %d: an actor's environments are in one "
                                          "batch",
                                          config.inference().max_batch(), config.actor().environments())});
  }
  if (config.replay().journal()) {
    constexpr char kReason[] =
        ": only a checkpoint of the shards makes a journal's files superfluous, which would grow until the disk is "
        "full";
    if (!config.checkpoint().replay()) {
      violations.push_back({"replay.journal", absl::StrCat("true with checkpoint.replay: false", kReason)});
    } else if (config.checkpoint().interval_seconds() == 0) {
      violations.push_back({"replay.journal", absl::StrCat("true with checkpoint.interval_seconds: 0", kReason)});
    }
  }
  const v1::StopConfig& stop = config.stop();
  if (stop.env_steps() == 0 && stop.wall_seconds() == 0 && !stop.has_score()) {
    violations.push_back({"stop", "the run would never end: set env_steps, wall_seconds or score"});
  }
  if (stop.has_score() && config.evaluation().processes() == 0) {
    violations.push_back({"stop.score", "evaluation.processes is 0, so that no evaluation can reach it"});
  }
  return violations;
}

}  // namespace headrace
