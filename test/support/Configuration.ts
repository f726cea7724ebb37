/** The configuration of a test. The environment is the same for all test files of a worker, and is read once. */
import * as ConfigProvider from "effect/ConfigProvider"
import type * as Layer from "effect/Layer"

export const layerConfiguration = (values: Readonly<Record<string, string>>): Layer.Layer<never> =>
  ConfigProvider.layer(ConfigProvider.fromUnknown(values))
