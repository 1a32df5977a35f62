#include "common/config.h"

#include <cstdint>
#include <string>
#include <vector>

#include "common/config_check.h"
#include "common/config_fields.h"
#include "common/config_sources.h"
#include "common/config_test.pb.h"
#include "common/file.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kMinimal[] = "environment { name: \"Pendulum-v1\" }\nsac {}\n";

v1::RunConfig Parsed(const std::string& text, const std::vector<std::string>& overrides = {}) {
  absl::StatusOr<v1::RunConfig> config = ParseRunConfig(text, "run.textproto", overrides);
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : v1::RunConfig();
}

std::string Refusal(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const absl::StatusOr<v1::RunConfig> config = ParseRunConfig(text, "run.textproto", overrides);
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(config.status().message());
}

TEST(ConfigTest, LoadsAFileAndWritesDefaultsOut) {
  const std::string path = testing::TempDir() + "/minimal.textproto";
  ASSERT_TRUE(WriteFileAtomically(path, kMinimal).ok());
  const absl::StatusOr<v1::RunConfig> config = LoadRunConfig(path, {"actor.processes=4"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->environment().name(), "Pendulum-v1");
  EXPECT_EQ(config->actor().processes(), 4u);
  EXPECT_TRUE(config->replay().has_capacity());
  EXPECT_TRUE(config->sac().has_batch_size());
  EXPECT_FALSE(config->sac().has_target_entropy());
  EXPECT_FALSE(config->stop().has_score());
}

TEST(ConfigTest, LoadsAFileThatBeginsWithAByteOrderMark) {
  const std::string path = testing::TempDir() + "/marked.textproto";
  ASSERT_TRUE(WriteFileAtomically(path, std::string("\xef\xbb\xbf") + kMinimal).ok());
  const absl::StatusOr<v1::RunConfig> config = LoadRunConfig(path, {});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->environment().name(), "Pendulum-v1");
}

TEST(ConfigTest, NamesAMissingFile) {
  const absl::Status status = LoadRunConfig("/nowhere/run.textproto", {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("/nowhere/run.textproto"));
}

TEST(ConfigTest, RefusesUnknownFieldsWithPlaceAndNearestName) {
  EXPECT_EQ(Refusal("seed: 1\nenviroment { name: \"a\" }\n"),
            "run.textproto:2:1: RunConfig has no field enviroment; did you mean environment?");
  EXPECT_EQ(Refusal("actor {\n  proceses: 2\n}\n"),
            "run.textproto:2:3: ActorConfig has no field proceses; did you mean processes?");
  EXPECT_THAT(Refusal("sacc { batch_size: 2 }\n"), HasSubstr("RunConfig has no field sacc; did you mean sac"));
  EXPECT_THAT(Refusal("sac { batch_sise: 2 }\n"),
              HasSubstr("SacOptions has no field batch_sise; did you mean batch_size"));
}

TEST(ConfigTest, RefusesTwoAlgorithms) {
  EXPECT_EQ(Refusal("environment { name: \"a\" }\nsac {}\nppo {}\n"),
            "run.textproto:3:1: expected one algorithm, got sac and ppo");
}

TEST(ConfigTest, OffersTheAlgorithmsFirstForAnUnknownGroup) {
  const std::string offer = "RunConfig has no field zzzzzz; there is sac, ";
  EXPECT_THAT(Refusal("zzzzzz { tau: 0.1 }\n"), StartsWith("run.textproto:1:1: " + offer));
  EXPECT_THAT(Refusal("zzzzzz { tau: 0.1 }\n"), HasSubstr(", environment, actor, "));  // after all algorithms
  EXPECT_THAT(Refusal("seed: 1\nzzzzzz\n{\n}\n"), StartsWith("run.textproto:2:1: " + offer));
  EXPECT_THAT(Refusal("zzzzzz: 5\n"), HasSubstr("; there is seed, topology, "));
}

TEST(ConfigTest, SuspectsAMissingBraceBeforeAFieldOfTheTopLevel) {
  EXPECT_EQ(Refusal("actor {\n  processes: 2\nreplay { shards: 2 }\n"),
            "run.textproto:3:1: ActorConfig has no field replay, but RunConfig has: is a } missing before it?");
}

TEST(ConfigTest, RefusesUnknownEnumValuesWithPlaceAndTheValidOnes) {
  EXPECT_EQ(Refusal("topology: IMPALA\n"),
            "run.textproto:1:11: topology: expected REPLAY or QUEUE or SYNCHRONOUS or CENTRAL_INFERENCE or "
            "ASYNCHRONOUS_GRADIENTS, "
            "got \"IMPALA\"");
  EXPECT_EQ(Refusal("actor { on_backpressure: DROP }"),
            "run.textproto:1:26: on_backpressure: expected BLOCK or DROP_EPISODE, got \"DROP\"");
  EXPECT_EQ(Refusal(std::string(kMinimal) + "topology: TOPOLOGY_UNSPECIFIED\n"),
            "run.textproto:3:1: topology: expected REPLAY or QUEUE or SYNCHRONOUS or CENTRAL_INFERENCE or "
            "ASYNCHRONOUS_GRADIENTS, "
            "got \"TOPOLOGY_UNSPECIFIED\"");
  EXPECT_EQ(Refusal(kMinimal, {"topology=IMPALA"}),
            "--set topology: expected REPLAY or QUEUE or SYNCHRONOUS or CENTRAL_INFERENCE or "
            "ASYNCHRONOUS_GRADIENTS, "
            "got \"IMPALA\"");
}

TEST(ConfigTest, RefusesMistypedValuesWithPlaceAndLine) {
  const std::string error = Refusal("actor {\n  processes: two\n}\n");
  EXPECT_THAT(error, HasSubstr("run.textproto:2:14: Expected integer, got: two"));
  EXPECT_THAT(error, HasSubstr("processes: two"));
  EXPECT_EQ(Refusal("deterministic: perhaps\nseed: 1\n"),
            "run.textproto:1:16: deterministic: expected true or false, got \"perhaps\"");
  EXPECT_THAT(Refusal("actor { processes: 5000000000 }"), HasSubstr("5000000000"));
  EXPECT_EQ(Refusal("actor { processes: -1 }"),
            "run.textproto:1:20: Expected an integer that is not negative, got: -, in: actor { processes: -1 }");
  EXPECT_EQ(Refusal("actor: 5"), "run.textproto:1:8: Expected \"{\", found \"5\", in: actor: 5");
}

TEST(ConfigTest, QuotesTheBeginningOfALongLine) {
  EXPECT_THAT(Refusal("seed: " + std::string(1000, 'x')),
              testing::EndsWith(", in: seed: " + std::string(74, 'x') + "..."));
}

TEST(ConfigTest, RefusesFilesThatAreNotText) {
  EXPECT_EQ(Refusal("seed: 1\n\tsac" + std::string(1, '\0') + "{}"),
            "run.textproto:2:5: expected text, got the byte 0x00");
}

TEST(ConfigTest, RefusesFieldsGivenTwiceAndBrokenSyntax) {
  EXPECT_THAT(Refusal("seed: 1\nseed: 2\n"), HasSubstr("\"seed\" is specified multiple times"));
  EXPECT_EQ(Refusal("actor {\n"), "run.textproto:2:1: Expected }, got: the end of the file");
  EXPECT_EQ(Refusal("seed:"), "run.textproto:1:6: Expected integer, got: the end of the file, in: seed:");
  EXPECT_THAT(Refusal("}"), HasSubstr("run.textproto:1:1"));
}

TEST(ConfigTest, NamesTheOverrideThatIsWrong) {
  EXPECT_EQ(Refusal(kMinimal, {"seed=1", "actor.processes=two"}),
            "--set actor.processes: expected an unsigned integer, got \"two\"");
}

TEST(ConfigTest, ReportsAllRangeViolationsTogetherWithTheirPlaces) {
  const std::string error = Refusal(std::string(kMinimal) +
                                        "actor {\n  processes: 0\n  chunk_rows: 100000\n}\n"
                                        "learner { log_interval_seconds: 0.001 }\n",
                                    {"replay.shards=2000"});
  EXPECT_EQ(error,
            "run.textproto:4:3: actor.processes: 0 is less than the minimum 1\n"
            "run.textproto:5:3: actor.chunk_rows: 100000 is more than the maximum 65536\n"
            "--set replay.shards=2000: replay.shards: 2000 is more than the maximum 1024\n"
            "run.textproto:7:11: learner.log_interval_seconds: 0.001 is less than the minimum 0.01");
}

TEST(ConfigTest, RefusesOptionsOfAnAlgorithmOutOfTheirRange) {
  EXPECT_EQ(Refusal("environment { name: \"a\" }\nsac {\n  batch_size: 100000\n  hidden: 64\n  hidden: 9000\n"
                    "  discount: 2\n  tau: -0.1\n}\n",
                    {"sac.initial_temperature=0"}),
            "run.textproto:5:3: sac.hidden[1]: 9000 is more than the maximum 8192\n"
            "run.textproto:3:3: sac.batch_size: 100000 is more than the maximum 65536\n"
            "run.textproto:6:3: sac.discount: 2 is more than the maximum 1\n"
            "run.textproto:7:3: sac.tau: -0.1 is less than the minimum 0\n"
            "--set sac.initial_temperature=0: sac.initial_temperature: 0 is not above 0");
  EXPECT_EQ(Refusal("environment { name: \"a\" }\nsac {}\n", {"sac.initial_temperature = 0"}),
            "--set sac.initial_temperature = 0: sac.initial_temperature: 0 is not above 0");
}

TEST(ConfigTest, FindsThePlaceOfAListAndTheOverrideOfOne) {
  EXPECT_EQ(Refusal("environment { name: \"a\" }\nsac {\n  hidden: [64, 0]\n}\n"),
            "run.textproto:3:3: sac.hidden[1]: 0 is less than the minimum 1");
  EXPECT_EQ(Refusal(kMinimal, {"sac.hidden=64,0"}),
            "--set sac.hidden=64,0: sac.hidden[1]: 0 is less than the minimum 1");
}

TEST(ConfigTest, WritesLargeNumbersOut) {
  // As 2.14748e+09, both would look the same.
  EXPECT_THAT(Refusal(kMinimal, {"environment.max_episode_steps=2147483648"}),
              HasSubstr("2147483648 is more than the maximum 2147483647"));
}

TEST(ConfigTest, SaysThatAValueIsTheDefault) {
  EXPECT_THAT(Refusal(kMinimal, {"topology=CENTRAL_INFERENCE", "actor.environments=2000"}),
              HasSubstr("run.textproto (default): inference.max_batch: 1024 is less than actor.environments, 2000"));
}

TEST(ConfigSourcesTest, PutsTheSourceOfAFieldBeforeErrorsThatBeginWithIt) {
  ConfigSources sources;
  ASSERT_TRUE(ParseRunConfig("environment {\n  name: \"a\"\n}\nsac {}\ndevice: \"tpu\"\n", "run.textproto",
                             {"sac.tau=0.5", "seed=3"}, &sources)
                  .ok());
  const auto located = [&](const std::string& message) {
    return std::string(sources.Locate(absl::UnavailableError(message)).message());
  };
  EXPECT_EQ(located("environment.name: no such"), "run.textproto:2:3: environment.name: no such");
  EXPECT_EQ(located("device: no tpu: here"), "run.textproto:5:1: device: no tpu: here");
  EXPECT_EQ(located("sac.tau: too slow"), "--set sac.tau=0.5: sac.tau: too slow");
  EXPECT_EQ(located("topology: too old"), "run.textproto (default): topology: too old");
  EXPECT_EQ(located("sac.target_entropy: required"), "run.textproto: sac.target_entropy: required");
  for (const std::string other : {"connection: lost", "sac.taus: unknown", "seed", "run.textproto:2:3: seed: 4", ""}) {
    EXPECT_EQ(located(other), other);
  }
  EXPECT_EQ(sources.Locate(absl::UnavailableError("device: gone")).code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(sources.Locate(absl::OkStatus()).ok());
}

TEST(ConfigTest, RefusesNumbersThatAreNotFinite) {
  EXPECT_THAT(Refusal(std::string(kMinimal), {"sac.discount=nan"}), HasSubstr("sac.discount: nan is not a finite"));
  EXPECT_THAT(Refusal("environment { name: \"a\" } sac { tau: inf }"), HasSubstr("sac.tau: inf is not a finite"));
}

TEST(ConfigTest, AllowsAnOverrideToMendTheFile) {
  EXPECT_EQ(Parsed(std::string(kMinimal) + "actor { processes: 0 }", {"actor.processes=2"}).actor().processes(), 2u);
}

TEST(ConfigTest, RequiresEnvironmentAndAlgorithm) {
  const std::string error = Refusal("");
  EXPECT_THAT(error, HasSubstr("environment.name: required"));
  EXPECT_THAT(error, HasSubstr("algorithm: required, exactly one of: sac {}"));
}

TEST(ConfigTest, RequiresAnEnd) {
  EXPECT_THAT(Refusal(kMinimal, {"stop.env_steps=0"}), HasSubstr("stop: the run would never end"));
  EXPECT_EQ(Parsed(kMinimal, {"stop.env_steps=0", "stop.wall_seconds=5"}).stop().wall_seconds(), 5);
  EXPECT_EQ(Parsed(kMinimal, {"stop.env_steps=0", "stop.score=-150"}).stop().score(), -150);
}

TEST(ConfigTest, RefusesAScoreThatNobodyMeasures) {
  EXPECT_THAT(Refusal(kMinimal, {"stop.score=1", "evaluation.processes=0"}), HasSubstr("stop.score: "));
}

TEST(ConfigTest, RefusesMoreEnvironmentsThanABatchOfCentralInferenceHolds) {
  EXPECT_THAT(Refusal(kMinimal, {"topology=CENTRAL_INFERENCE", "actor.environments=16", "inference.max_batch=8"}),
              HasSubstr("inference.max_batch: 8 is less than actor.environments, 16"));
  EXPECT_EQ(Parsed(kMinimal, {"actor.environments=16", "inference.max_batch=8"}).inference().max_batch(), 8);
}

TEST(ConfigTest, RefusesDeterministicRunsThatHaveSeveralOfAnything) {
  const std::string error = Refusal(kMinimal, {"deterministic=true", "actor.processes=2", "replay.shards=3"});
  EXPECT_THAT(error, HasSubstr("actor.processes: 2 with deterministic: true, which needs 1"));
  EXPECT_THAT(error, HasSubstr("replay.shards: 3 with deterministic: true, which needs 1"));
  EXPECT_THAT(Refusal(kMinimal, {"deterministic=true", "actor.on_backpressure=DROP_EPISODE"}),
              HasSubstr("actor.on_backpressure: DROP_EPISODE with deterministic: true"));
  EXPECT_TRUE(Parsed(kMinimal, {"deterministic=true", "actor.environments=8"}).deterministic());
}

TEST(ConfigTest, RefusesAJournalThatWouldOnlyGrow) {
  EXPECT_THAT(Refusal(kMinimal, {"replay.journal=true", "checkpoint.replay=false"}),
              HasSubstr("replay.journal: true with checkpoint.replay: false: only a checkpoint of the shards makes"));
  EXPECT_THAT(Refusal(kMinimal, {"replay.journal=true", "checkpoint.interval_seconds=0"}),
              HasSubstr("replay.journal: true with checkpoint.interval_seconds: 0: only a checkpoint"));
}

TEST(ConfigTest, HasDefaultsWithinTheirOwnRanges) { Parsed(kMinimal); }

TEST(ConfigTest, TakesAListAsItStandsInAFile) {
  for (const char* const list : {"sac.hidden=64,32", "sac.hidden=[64,32]", "sac.hidden=[ 64, 32 ]"}) {
    EXPECT_THAT(ResolvedText(Parsed(kMinimal, {list})), HasSubstr("hidden: 64\n  hidden: 32\n"));
  }
  EXPECT_THAT(Refusal(kMinimal, {"sac.hidden=[64"}), HasSubstr("sac.hidden"));
}

TEST(ResolvedTextTest, LoadsToAnEqualMessage) {
  const v1::RunConfig config = Parsed(kMinimal, {"sac.hidden=64,64", "stop.score=-150.25", "device=cuda:1"});
  const std::string text = ResolvedText(config);
  EXPECT_THAT(text, testing::StartsWith("# "));
  EXPECT_THAT(text, HasSubstr("budget_bytes: 4294967296"));
  EXPECT_TRUE(MessageDifferencer::Equals(Parsed(text), config));
  EXPECT_EQ(ResolvedText(Parsed(text)), text);
}

TEST(ResolvedTextTest, LeavesRepeatedFieldsWithoutValuesEmpty) {
  EXPECT_THAT(ResolvedText(Parsed(kMinimal)), HasSubstr("hidden: 256\n  hidden: 256\n"));
}

TEST(ResumeTest, AllowsTheSameConfigurationWithDefaultsWrittenOrNot) {
  v1::RunConfig bare;
  bare.mutable_environment()->set_name("Pendulum-v1");
  bare.mutable_sac();
  EXPECT_TRUE(CheckResumable(bare, Parsed(kMinimal)).ok());
  EXPECT_TRUE(CheckResumable(Parsed(kMinimal), bare).ok());
}

TEST(ResumeTest, AllowsChangesOfFieldsMarkedSo) {
  EXPECT_TRUE(CheckResumable(Parsed(kMinimal), Parsed(kMinimal, {"actor.processes=4", "stop.env_steps=5000",
                                                                 "device=cuda", "stop.score=10"}))
                  .ok());
}

TEST(ResumeTest, RefusesOtherChangesWithBothValues) {
  const absl::Status status =
      CheckResumable(Parsed(kMinimal), Parsed(kMinimal, {"seed=2", "environment.name=Ant-v5", "sac.hidden=64,32",
                                                         "sac.target_entropy=-1", "actor.processes=4"}));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("\n  seed: 1 in the run, 2 now\n"));
  EXPECT_THAT(status.message(), HasSubstr("\n  environment.name: \"Pendulum-v1\" in the run, \"Ant-v5\" now\n"));
  EXPECT_THAT(status.message(), HasSubstr("\n  sac.hidden: [256, 256] in the run, [64, 32] now\n"));
  EXPECT_THAT(status.message(), HasSubstr("\n  sac.target_entropy: nothing in the run, -1 now\n"));
  EXPECT_THAT(status.message(), Not(HasSubstr("actor.processes: ")));
  EXPECT_THAT(status.message(), testing::EndsWith("marked [resume] in proto/config.proto may change."));
}

TEST(FieldsTest, NamesASwitchedOneofAsOneDifference) {
  test::Everything before;
  before.mutable_left()->set_count(1);
  test::Everything after;
  after.mutable_right()->set_count(2);
  const std::vector<FieldDifference> differences = FindDifferences(before, after);
  ASSERT_EQ(differences.size(), 1u);
  EXPECT_EQ(differences[0].path, "choice");
  EXPECT_EQ(differences[0].before, "left");
  EXPECT_EQ(differences[0].after, "right");
  EXPECT_FALSE(differences[0].resumable);
}

TEST(FieldsTest, PassesResumeOnToWhatIsInsideAMessage) {
  test::Everything before;
  test::Everything after;
  after.mutable_inner()->set_count(4);
  after.set_i32(1);
  const std::vector<FieldDifference> differences = FindDifferences(before, after);
  ASSERT_EQ(differences.size(), 2u);
  EXPECT_FALSE(differences[0].resumable);  // i32
  EXPECT_EQ(differences[1].path, "inner.count");
  EXPECT_TRUE(differences[1].resumable);
}

TEST(FieldsTest, SetsDefaultsOnlyWhereTheSchemaHasThem) {
  test::Everything message;
  message.mutable_right();
  SetDefaults(&message);
  EXPECT_TRUE(message.has_s());
  EXPECT_TRUE(message.has_colour());
  EXPECT_EQ(message.colour(), test::GREEN);
  EXPECT_TRUE(message.inner().has_count());
  EXPECT_FALSE(message.inner().has_rate());
  EXPECT_FALSE(message.has_i32());
  EXPECT_EQ(message.right().count(), 3);
  EXPECT_FALSE(message.has_left());
}

TEST(RangeTest, LooksIntoRepeatedFieldsAndMessages) {
  test::Everything message;
  message.mutable_inner()->add_sizes(4);
  message.mutable_inner()->add_sizes(0);
  message.add_list()->set_count(-3);
  message.add_list()->set_count(-2);
  message.mutable_left()->set_rate(1.5);
  message.mutable_inner()->set_rate(0);
  std::vector<std::string> found;
  for (const ConfigViolation& violation : FindRangeViolations(message)) {
    found.push_back(violation.path + " " + violation.text);
  }
  EXPECT_THAT(found,
              ElementsAre("inner.sizes[1] 0 is less than the minimum 1", "inner.rate 0 is not above 0",
                          "list[0].count -3 is less than the minimum -2", "left.rate 1.5 is more than the maximum 1"));
}

}  // namespace
}  // namespace headrace
