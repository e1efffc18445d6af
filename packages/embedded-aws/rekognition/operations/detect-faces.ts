import { Attribute } from '@aws-sdk/client-rekognition'
import * as z from 'zod'
import { facesOf } from '../../../vision/index.ts'
import { imageSchema } from '../images.ts'
import { operation } from '../operation.ts'

/** Faces are not to be had from simple measurements, so the honest answer without models is none. It has no model version. */
export const detectFaces = operation(
  z.object({ Image: imageSchema, Attributes: z.array(z.enum(Attribute)).optional() }),
  ({ Attributes = [] }, { sight }) => ({ FaceDetails: sight ? facesOf(sight, Attributes) : [] }),
  () => 'sight',
)
