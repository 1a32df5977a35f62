#include "actor/env/laser_map.h"

#include <cmath>
#include <numbers>
#include <queue>

#include "common/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

constexpr int kMaps = 250;
constexpr int kCells = LaserMap::kCells;
constexpr double kCellSize = LaserMap::kCellSize;
constexpr double kRange = 5;

RandomStream Random() { return RandomStream(1, StreamRole::kTest, 0, StreamPurpose::kEnvironment); }

std::vector<LaserMap> FirstMaps(int count) {
  std::vector<LaserMap> maps;
  for (int number = 0; number < count; ++number) maps.push_back(LaserMap::Generate(number));
  return maps;
}

bool InWall(const LaserMap& map, double x, double y) {
  return map.occupied({static_cast<int>(x / kCellSize), static_cast<int>(y / kCellSize)});
}

// Length by length along the ray, until there is a wall.
double March(const LaserMap& map, double x, double y, double direction_x, double direction_y, double step) {
  double way = 0;
  while (way < kRange && !InWall(map, x + way * direction_x, y + way * direction_y)) way += step;
  return std::min(way, kRange);
}

TEST(LaserMapTest, RaysAreAsLongAsMarchingSays) {
  constexpr double kStep = 0.0005;
  const std::vector<LaserMap> maps = FirstMaps(20);
  RandomStream random = Random();
  int walls = 0, cut_corners = 0;
  for (int i = 0; i < 2000; ++i) {
    const LaserMap& map = maps[i % maps.size()];
    double x, y;
    do {
      x = random.Uniform(0, kCells * kCellSize);
      y = random.Uniform(0, kCells * kCellSize);
    } while (InWall(map, x, y));
    const double angle = i % 10 == 0 ? i / 10 % 4 * std::numbers::pi / 2 : random.Uniform(0, 2 * std::numbers::pi);
    const double direction_x = std::cos(angle), direction_y = std::sin(angle);
    const double ray = map.Ray(x, y, direction_x, direction_y, kRange);
    const double marched = March(map, x, y, direction_x, direction_y, kStep);
    ASSERT_LE(ray, marched + 1e-9);
    if (marched - ray > kStep) {
      // Marching passes over the corner of a wall: the ray must have ended there.
      ++cut_corners;
      ASSERT_TRUE(InWall(map, x + (ray + 1e-7) * direction_x, y + (ray + 1e-7) * direction_y));
    }
    if (ray < kRange) ++walls;
  }
  EXPECT_GT(walls, 1000);
  EXPECT_LT(cut_corners, 20);
}

TEST(LaserMapTest, RaysEndAtTheirRange) {
  const LaserMap map = LaserMap::Generate(0);
  for (const LaserMap::Cell& cell : map.roomy()) {
    EXPECT_EQ(map.Ray(cell.x(), cell.y(), 1, 0, 0.2), 0.2);  // the next wall is 0.375 away at least
    EXPECT_GE(map.Ray(cell.x(), cell.y(), 1, 0, kRange), 0.375 - 1e-12);
  }
}

// The distance to the nearest of many points on walls.
double NearestWall(const LaserMap& map, double x, double y) {
  constexpr int kPoints = 20;  // on each side of a cell
  double nearest = INFINITY;
  for (int row = 0; row < kCells; ++row) {
    for (int column = 0; column < kCells; ++column) {
      const LaserMap::Cell cell{column, row};
      if (!map.occupied(cell) || std::hypot(x - cell.x(), y - cell.y()) > 1) continue;
      for (int i = 0; i <= kPoints; ++i) {
        for (int j = 0; j <= kPoints; ++j) {
          nearest = std::min(nearest, std::hypot(x - (column + static_cast<double>(i) / kPoints) * kCellSize,
                                                 y - (row + static_cast<double>(j) / kPoints) * kCellSize));
        }
      }
    }
  }
  return nearest;
}

TEST(LaserMapTest, DiscsTouchWallsThatAreNearerThanTheirRadius) {
  const std::vector<LaserMap> maps = FirstMaps(20);
  RandomStream random = Random();
  int touching = 0;
  for (int i = 0; i < 400; ++i) {
    const LaserMap& map = maps[i % maps.size()];
    const double x = random.Uniform(1, kCells * kCellSize - 1), y = random.Uniform(1, kCells * kCellSize - 1);
    const double nearest = NearestWall(map, x, y), radius = random.Uniform(0.05, 0.4);
    if (std::abs(radius - nearest) < 0.01) continue;
    EXPECT_EQ(map.Touches(x, y, radius), nearest < radius) << x << ", " << y << " in map " << i % maps.size();
    touching += nearest < radius ? 1 : 0;
  }
  EXPECT_GT(touching, 40);
  EXPECT_LT(touching, 360);
}

TEST(LaserMapTest, EveryMapIsClosedAndConnected) {
  for (int number = 0; number < kMaps; ++number) {
    const LaserMap map = LaserMap::Generate(number);
    for (int i = 0; i < kCells; ++i) {
      ASSERT_TRUE(map.occupied({i, 0}) && map.occupied({i, kCells - 1}) && map.occupied({0, i}) &&
                  map.occupied({kCells - 1, i}));
    }
    // The open cells that can be reached from the first one.
    int open = 0;
    std::vector<bool> reached(kCells * kCells);
    std::queue<LaserMap::Cell> frontier;
    int count = 0;
    const auto reach = [&](LaserMap::Cell cell) {
      if (map.occupied(cell) || reached[cell.row * kCells + cell.column]) return;
      reached[cell.row * kCells + cell.column] = true;
      ++count;
      frontier.push(cell);
    };
    for (int row = 0; row < kCells; ++row) {
      for (int column = 0; column < kCells; ++column) {
        if (map.occupied({column, row})) continue;
        if (++open == 1) reach({column, row});
      }
    }
    while (!frontier.empty()) {
      const LaserMap::Cell cell = frontier.front();
      frontier.pop();
      for (const auto& [right, down] : {std::pair{1, 0}, {-1, 0}, {0, 1}, {0, -1}}) {
        reach({cell.column + right, cell.row + down});
      }
    }
    ASSERT_EQ(count, open) << "map " << number;
    EXPECT_GT(open, kCells * kCells / 2) << "map " << number;

    const LaserMap::Distances distances = map.DistancesTo(map.roomy().front());
    for (const LaserMap::Cell& cell : map.roomy()) ASSERT_TRUE(std::isfinite(distances.At(cell))) << "map " << number;
  }
}

TEST(LaserMapTest, MapsDifferAndANumberAlwaysGivesTheSame) {
  const std::vector<LaserMap> maps = FirstMaps(kMaps);
  for (int i = 0; i < kMaps; ++i) {
    EXPECT_EQ(LaserMap::Generate(i), maps[i]);
    for (int j = 0; j < i; ++j) EXPECT_FALSE(maps[i] == maps[j]) << i << " and " << j;
  }
}

// Bellman and Ford's way: every cell takes its neighbours' word until none knows better.
TEST(LaserMapTest, DistancesAreThoseOfTheShortestWays) {
  const LaserMap map = LaserMap::Generate(3);
  const LaserMap::Cell goal = map.roomy()[100];
  std::vector<double> expected(kCells * kCells, INFINITY);
  expected[goal.row * kCells + goal.column] = 0;
  for (bool changed = true; changed;) {
    changed = false;
    for (const LaserMap::Cell& cell : map.roomy()) {
      double& known = expected[cell.row * kCells + cell.column];
      for (int down = -1; down <= 1; ++down) {
        for (int right = -1; right <= 1; ++right) {
          const double step = (down == 0 || right == 0 ? 1 : 1.4) * kCellSize;
          const double way = expected[(cell.row + down) * kCells + cell.column + right] + step;
          if (way < known - 1e-9) {
            known = way;
            changed = true;
          }
        }
      }
    }
  }
  const LaserMap::Distances distances = map.DistancesTo(goal);
  for (const LaserMap::Cell& cell : map.roomy()) {
    ASSERT_NEAR(distances.At(cell), expected[cell.row * kCells + cell.column], 1e-5);
    ASSERT_NEAR(distances.At(cell.x(), cell.y()), distances.At(cell), 1e-5);
  }
  EXPECT_EQ(distances.At(LaserMap::Cell{0, 0}), INFINITY);
}

}  // namespace
}  // namespace headrace
