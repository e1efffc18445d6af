import { DetectLabelsFeatureName } from '@aws-sdk/client-rekognition'
import * as z from 'zod'
import { type Label, labelModelVersion, labelsOf } from '../../../vision/index.ts'
import { imageSchema } from '../images.ts'
import type { DominantColor, Measurements } from '../measure.ts'
import { MODEL_VERSION, operation, percent, type Seen } from '../operation.ts'

const filter = z.array(z.string().max(50)).max(100).default([])
const labelsSchema = z.object({
  Image: imageSchema,
  MaxLabels: z.int().min(0).default(1000),
  MinConfidence: percent.default(55),
  Features: z.array(z.enum(DetectLabelsFeatureName)).max(2).default([]),
  Settings: z
    .object({
      GeneralLabels: z
        .object({
          LabelInclusionFilters: filter,
          LabelExclusionFilters: filter,
          LabelCategoryInclusionFilters: filter,
          LabelCategoryExclusionFilters: filter,
        })
        .prefault({}),
      ImageProperties: z.object({ MaxDominantColors: z.int().min(0).max(20).default(10) }).prefault({}),
    })
    .prefault({}),
})

export const detectLabels = operation(labelsSchema, answer, ({ Features }) =>
  includesLabels(Features) ? 'sight' : undefined,
)

const includesLabels = (features: string[]): boolean =>
  features.length === 0 || features.includes('GENERAL_LABELS')

/** Where the models see nothing that they have a name for, the measurements are an answer still, in their own category. */
function answer(input: z.infer<typeof labelsSchema>, seen: Seen) {
  const { measured, sight } = seen
  const { Features, MinConfidence, MaxLabels, Settings } = input
  const chosen = (labels: Label[]): Label[] =>
    labels
      .filter((label) => label.Confidence >= MinConfidence && passes(label, Settings.GeneralLabels))
      .sort((a, b) => b.Confidence - a.Confidence)
      .slice(0, MaxLabels)
  const named = sight === undefined ? [] : chosen(labelsOf(sight))
  const labels = named.length > 0 ? named : chosen(measuredLabels(seen))
  return {
    Labels: includesLabels(Features) ? labels : [],
    LabelModelVersion: sight === undefined ? MODEL_VERSION : labelModelVersion(sight),
    ...(Features.includes('IMAGE_PROPERTIES') && {
      ImageProperties: imageProperties(measured, Settings.ImageProperties.MaxDominantColors),
    }),
  }
}

const label = (
  name: string,
  parent: string,
  confidence: number,
  instances: Label['Instances'] = [],
): Label => ({
  Name: name,
  Confidence: rounded(confidence),
  Instances: instances,
  Parents: [{ Name: parent }],
  Aliases: [],
  Categories: [{ Name: 'Stand-in Measurement' }],
})
const rounded = (value: number) => Math.round(value * 10_000) / 10_000

/**
 * Each measure becomes the label of the side it is on, with the measure (see measure.ts) as the confidence:
 * brightness 70 is Bright at 70, brightness 30 is Dark at 70. Of colourfulness c, Colorful is c / 109 (109 is
 * extremely colourful) and Black And White 1 − c / 15 (15 is slightly colourful). A colour has 50 + half its
 * per cent of the pixels: at the default MinConfidence it shows from a tenth of the picture on. Its box is
 * around its largest connected region, with the share of the box that the region fills as the confidence.
 */
function measuredLabels({ width, height, measured }: Seen): Label[] {
  const { brightness, contrast, sharpness, colorfulness, areas } = measured
  const side = (measured: number, high: string, low: string, parent: string) =>
    measured >= 50 ? label(high, parent, measured) : label(low, parent, 100 - measured)
  const shape = width > height ? 'Landscape' : width < height ? 'Portrait' : 'Square'
  return [
    label(`${shape} Orientation`, 'Orientation', 100),
    side(brightness, 'Bright', 'Dark', 'Brightness'),
    side(contrast, 'High Contrast', 'Low Contrast', 'Contrast'),
    side(sharpness, 'Sharp', 'Blurry', 'Sharpness'),
    label('Colorful', 'Colorfulness', Math.min(100, (100 * colorfulness) / 109)),
    label('Black And White', 'Colorfulness', Math.max(0, 100 * (1 - colorfulness / 15))),
    ...areas.map(({ family, percent, box, fill }) =>
      label(family.charAt(0).toUpperCase() + family.slice(1), 'Color', 50 + percent / 2, [
        {
          BoundingBox: { Left: box.left, Top: box.top, Width: box.width, Height: box.height },
          Confidence: rounded(fill),
        },
      ]),
    ),
  ]
}

type LabelFilters = z.infer<typeof labelsSchema>['Settings']['GeneralLabels']

/** With any inclusion filter only what one of them names comes through; an exclusion filter always takes out. */
function passes({ Name, Categories }: Label, filters: LabelFilters): boolean {
  const named = (names: string[], categories: string[]) =>
    names.includes(Name) || Categories.some((category) => categories.includes(category.Name))
  const { LabelInclusionFilters, LabelCategoryInclusionFilters } = filters
  const all = LabelInclusionFilters.length + LabelCategoryInclusionFilters.length === 0
  return (
    (all || named(LabelInclusionFilters, LabelCategoryInclusionFilters)) &&
    !named(filters.LabelExclusionFilters, filters.LabelCategoryExclusionFilters)
  )
}

/** Without Foreground and Background: a measurement cannot separate them. */
const imageProperties = ({ brightness, sharpness, contrast, colors }: Measurements, maxColors: number) => ({
  Quality: { Brightness: rounded(brightness), Sharpness: rounded(sharpness), Contrast: rounded(contrast) },
  DominantColors: colors.slice(0, maxColors).map(dominantColor),
})

const dominantColor = ({ css, family, rgb, percent }: DominantColor) => ({
  Red: rgb >> 16,
  Green: (rgb >> 8) & 0xff,
  Blue: rgb & 0xff,
  HexCode: `#${rgb.toString(16).padStart(6, '0')}`,
  CSSColor: css,
  SimplifiedColor: family,
  PixelPercent: rounded(percent),
})
