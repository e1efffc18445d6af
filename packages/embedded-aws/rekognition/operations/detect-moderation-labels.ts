import * as z from 'zod'
import { MODERATION_MODEL_VERSION, moderationLabelsOf } from '../../../vision/index.ts'
import { imageSchema, unsupported } from '../images.ts'
import { MODEL_VERSION, operation, percent } from '../operation.ts'

/** Without a model nothing is found, and the version says that none has looked. */
export const detectModerationLabels = operation(
  z.object({
    Image: imageSchema,
    MinConfidence: percent.default(50),
    HumanLoopConfig: unsupported('HumanLoopConfig'),
    ProjectVersion: unsupported('ProjectVersion'),
  }),
  ({ MinConfidence }, { moderation }) => ({
    ModerationLabels: moderation ? moderationLabelsOf(moderation, MinConfidence) : [],
    ModerationModelVersion: moderation ? MODERATION_MODEL_VERSION : MODEL_VERSION,
    ContentTypes: [],
  }),
  () => 'moderation',
)
