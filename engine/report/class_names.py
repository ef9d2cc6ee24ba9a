"""Spanish names of COCO's classes. A page in Spanish shows them; tables and files keep the names of the model."""

from __future__ import annotations

from types import MappingProxyType

from models.coco import COCO80

_SPANISH = (
    "persona", "bicicleta", "coche", "motocicleta", "avión", "autobús", "tren", "camión", "barco", "semáforo",
    "boca de incendios", "señal de stop", "parquímetro", "banco", "pájaro", "gato", "perro", "caballo", "oveja",
    "vaca", "elefante", "oso", "cebra", "jirafa", "mochila", "paraguas", "bolso", "corbata", "maleta", "frisbee",
    "esquís", "tabla de snowboard", "pelota", "cometa", "bate de béisbol", "guante de béisbol", "monopatín",
    "tabla de surf", "raqueta de tenis", "botella", "copa de vino", "taza", "tenedor", "cuchillo", "cuchara",
    "cuenco", "plátano", "manzana", "sándwich", "naranja", "brócoli", "zanahoria", "perrito caliente", "pizza",
    "dónut", "tarta", "silla", "sofá", "planta en maceta", "cama", "mesa de comedor", "inodoro", "televisor",
    "portátil", "ratón", "mando a distancia", "teclado", "teléfono móvil", "microondas", "horno", "tostadora",
    "fregadero", "frigorífico", "libro", "reloj", "jarrón", "tijeras", "oso de peluche", "secador de pelo",
    "cepillo de dientes",
)  # fmt: skip

SPANISH_NAMES = MappingProxyType(dict(zip(COCO80, _SPANISH, strict=True)))
"""By the English name."""
